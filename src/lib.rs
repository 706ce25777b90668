//! `ecs-authz` decides whether a principal may call the API of an Elastic Cloud Server (ECS) service.
//!
//! It is a policy decision point: it knows from the provider's published permission tables which action each API
//! call is, evaluates the principal's policies, and answers allow or deny, with the reason, the statement that
//! decided, and the actions that the call depends on besides.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | PDP | policy decision point: this service, [`pdp::Pdp`] |
//! | PEP | policy enforcement point: who asks, a gateway or another service; no type of ours |
//! | principal | who makes the API call: a user or an agency of a domain, in a project; [`request::Identity`] |
//! | domain, project | the account, and the part of it that a call belongs to |
//! | operation | one call of the API: a method and a route, and where several share them, a key of the body; [`catalog::Operation`] |
//! | action | what an operation needs: `service:type:verb`; [`catalog::Action`] |
//! | dependency | an action that an operation's call depends on besides |
//! | policy, statement, effect | the provider's JSON: a document, its parts, `Allow` or `Deny`; [`policy::Document`] |
//! | resource | what a call touches: `service:region:account:type:path`; [`policy::Resource`] |
//! | condition | what must be so for a statement to apply: operator, key, values; [`policy::Condition`] |
//! | grant | a policy attached to a user, group or agency, in a scope; [`policy::Grant`] |
//! | policy set | what all policies of a principal say together, merged; [`policy::PolicySet`] |
//! | scene | what a call tells that statements may ask for; [`policy::Scene`] |
//! | verdict | what a principal's policies say of one action; [`decision::Verdict`] |
//! | permission | what a principal may do: an action allowed, denied, or depending on the call; [`policy::Permission`] |
//! | decision | allow, or deny with a reason; [`decision::Decision`] |
//! | record | what the decision log keeps of a decision, or of a call that got none; [`decision_log::Entry`] |
//! | trace, span | what one request did across services, and the part of it that one call was; [`traces::TraceContext`] |
//! | shed | refused without being looked at, for too much is asked for at once; [`grpc::limits`] |
//! | revision | the state of a domain's policies, a number that grows; [`store::Revision`] |
//! | timeline | the history that revisions belong to; another one after changes were lost; [`store::PolicyStore::timeline`] |
//! | administration | reading and editing policies in a database, the PAP of others; [`store::postgres::administration`] |
//!
//! # The walk of one request
//!
//! 1. **Let in.** [`server`] takes the connection and knows its peer; [`grpc::guard`] keeps a call's time and its faults to
//!    itself, [`grpc::observe`] counts and traces it, and it takes a place of [`slots`], or is shed.
//! 2. **Parse.** [`grpc`] takes the message apart, for Envoy finds who the principal is, and [`request::Request::new`] checks
//!    every field.
//! 3. **Route.** [`catalog::Catalog::resolve`] reads the path if it has one reading only, finds the route, and asks
//!    the body where the route needs it. Then [`pdp::Pdp::decide`] holds the project in the path against the
//!    principal's.
//! 4. **Load.** [`store::cache::PolicyCache`] has the principal's [`policy::PolicySet`] at the domain's revision, or
//!    loads it once for all who wait, and merges it once for all who have the same policies.
//! 5. **Evaluate.** [`policy::evaluate()`] asks the set for a verdict on each required action and on each dependency, on
//!    each resource that the call touches, under the conditions of its [`policy::Scene`];
//!    [`decision::Decision::of`] makes the decision of them: the one place that can say allow.
//! 6. **Record** the decision ([`decision_log::Entry`]), count it ([`metrics`]), and **render** it: [`grpc::render`].
//!
//! It goes one way. What keeps us from knowing is an error on the way, and no error becomes a decision.
//!
//! # Who imports whom
//!
//! | module | may import |
//! |---|---|
//! | [`catalog`] | bytes |
//! | [`decision`] | catalog |
//! | [`request`] | catalog, decision |
//! | [`policy`] | catalog, decision, request |
//! | [`store`] | catalog, policy, request, tally |
//! | [`pdp`] | catalog, decision, policy, request, store |
//! | [`metrics`] | catalog, decision, decision_log, health, pdp, slots, store, tally, traces |
//! | [`decision_log`] | bytes, catalog, clock, decision, otlp, pdp, policy, request, traces |
//! | [`grpc`] | bytes, catalog, clock, decision, decision_log, metrics, otlp, pdp, policy, request, slots, store, traces |
//! | [`health`] | decision_log, store |
//! | [`config`] | decision, decision_log, grpc, otlp, store, traces |
//! | [`server`] | catalog, config, decision, decision_log, grpc, health, metrics, pdp, slots, store, traces |
//! | [`cli`] | catalog, clock, config, decision, envoy, grpc, pdp, request, server, store, telemetry |
//! | [`envoy`] | catalog, request |
//! | [`bytes`] | nothing of ours |
//! | [`clock`] | nothing of ours |
//! | [`slots`] | nothing of ours |
//! | [`tally`] | nothing of ours |
//! | [`telemetry`] | config, traces |
//! | [`traces`] | otlp |
//! | [`otlp`] | nothing of ours |
//!
//! The first four, and [`bytes`], are the pure core: no runtime, no files, no environment, no clock. A test holds the `use` lines
//! against this table.

pub mod bytes;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decision;
pub mod decision_log;
pub mod envoy;
pub mod grpc;
pub mod health;
pub mod metrics;
pub mod otlp;
pub mod pdp;
pub mod policy;
pub mod request;
pub mod server;
pub mod slots;
pub mod store;
pub mod tally;
pub mod telemetry;
pub mod traces;
