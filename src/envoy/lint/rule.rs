//! The names of the rules, how bad it is to break them, and why they are there.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A call may pass that was not authorized, or that was authorized as another call or of another caller.
    Danger,
    /// Calls may fail that should pass, or nobody can tell why they failed.
    Risk,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Danger => "danger",
            Self::Risk => "risk",
        })
    }
}

/// Defines the rules once: variant, name, severity, reason.
macro_rules! rules {
    ($($variant:ident $name:literal $severity:ident $reason:literal;)*) => {
        /// What a configuration must keep.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each rule has its reason")]
        pub enum Rule {
            $($variant,)*
        }

        impl Rule {
            /// All rules.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name, in `kebab-case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// How bad it is to break the rule.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$variant => Severity::$severity,)*
                }
            }

            /// Why the rule is there.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$variant => $reason,)*
                }
            }
        }
    };
}

rules! {
    NoExtAuthz "no-ext-authz" Danger "requests that nobody asks about are not authorized";
    FailureModeAllow "failure-mode-allow" Danger "an error must never be an allow";
    NotEnforced "not-enforced" Danger "a filter that is disabled, sampled or in shadow mode stops nothing";
    UnauthorizedOperation "unauthorized-operation" Danger "a route without the filter lets its operations through";
    DisabledByRequest "disabled-by-request" Danger "who sends the header that selects the route is not authorized";
    PathNormalization "path-normalization" Danger "Envoy, ecs-authz and the API must read the same path";
    PathRewrite "path-rewrite" Danger "what is authorized must be what the API gets";
    RouteCache "route-cache" Danger "the route that was authorized must be the route that is taken";
    LaterFilter "later-filter" Danger "what is authorized must be what the API gets";
    UnderscoreHeaders "underscore-headers" Danger "`x_user` is `x-user` to some servers";
    ClientAddress "client-address" Danger "a client can write x-forwarded-for, :scheme and most x-envoy-* headers itself";
    ForgedHeaders "forged-headers" Danger "a header that we set, or that replaces method or path, must not come from a client";
    HiddenHeaders "hidden-headers" Danger "ecs-authz refuses by headers, so it must see them";
    BodyBytes "body-bytes" Danger "ecs-authz and the API must read the same body";
    ResponseHeaders "response-headers" Danger "a line break in an answer's header would start another header";
    ErrorStatus "error-status" Danger "an error must not look like a success, nor like a denial";
    ClientCertificate "client-certificate" Danger "an identity counts only if somebody vouches for it";
    ClientCertificateHeader "client-certificate-header" Danger "a client can write x-forwarded-client-cert itself";
    Token "token" Danger "claims count only from a verified token that is for this API, and that ends";
    HeaderMutations "header-mutations" Risk "an answer may set our headers, and nothing else";
    RawHeaders "raw-headers" Risk "joined headers can't be told apart, so some good ones are refused";
    HostWildcard "host-wildcard" Risk "two Host headers are joined to one that matches only `*`";
    Waiting "waiting" Risk "a wait without an end holds memory and connections";
    BodyLimit "body-limit" Risk "a smaller limit refuses good calls, a larger one sends what is not read";
    BodyNotSent "body-not-sent" Risk "an operation that the body tells apart is denied without it";
    BodyEverywhere "body-everywhere" Risk "waiting for every body hangs streams and holds uploads in memory";
    Claims "claims" Risk "claims that don't arrive are nobody's: every call is a 401";
    Protocol "protocol" Risk "ecs-authz speaks gRPC, which is HTTP/2";
    CheckTimeout "check-timeout" Risk "a replica that hangs must not take the time of another try";
    Retry "retry" Risk "a replica that goes away must cost no call";
    Panic "panic-threshold" Risk "a replica that says it is not serving must not be asked";
    HealthCheck "health-check" Risk "a replica that hangs must be found before a call finds it";
    Keepalive "keepalive" Risk "a connection to a frozen host must be given up";
    OutlierDetection "outlier-detection" Risk "clients can provoke answers that eject replicas";
    Plaintext "plaintext" Risk "who can read or change the question or the answer decides";
    Admin "admin" Risk "the admin interface can stop Envoy and shows its secrets";
    NotInFile "not-in-file" Risk "what a discovery service sends can't be judged here";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
