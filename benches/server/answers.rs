//! Answers, read only as far as they have to be right. What is skipped costs the load generator next to nothing.

use ecs_authz::grpc::pb;
use prost::Message;

use super::Outcome;
use super::plan::Method;

/// A decision as it is compared: whether it is an allow, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) is_allow: bool,
    /// The wire's number of the reason. Envoy's answer does not tell it where it is cheap to find.
    pub(super) reason: Option<i32>,
}

/// `AuthorizeResponse`
#[derive(Clone, PartialEq, Message)]
struct Authorized {
    #[prost(int32, tag = "1")]
    decision: i32,
    #[prost(int32, tag = "2")]
    reason: i32,
    #[prost(string, tag = "13")]
    request_id: String,
}

/// `BatchAuthorizeResult` and `StreamAuthorizeResponse`
#[derive(Clone, PartialEq, Message)]
struct Single {
    #[prost(message, optional, tag = "1")]
    response: Option<Authorized>,
}

/// `BatchAuthorizeResponse`
#[derive(Clone, PartialEq, Message)]
struct Several {
    #[prost(message, repeated, tag = "1")]
    results: Vec<Single>,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
struct Code {
    #[prost(int32, tag = "1")]
    code: i32,
}

/// `CheckResponse`
#[derive(Clone, PartialEq, Message)]
struct Checked {
    #[prost(message, optional, tag = "1")]
    status: Option<Code>,
}

/// gRPC's code of Envoy's answer that is a denial.
const PERMISSION_DENIED: i32 = 7;

/// The answers of a message, with the number of the request where the message tells it.
pub(super) fn read(method: Method, message: &[u8]) -> Outcome<Vec<(Answer, Option<usize>)>> {
    Ok(match method {
        Method::Authorize => vec![(authorized(&Authorized::decode(message)?)?, None)],
        Method::Check => vec![(checked(&Checked::decode(message)?)?, None)],
        Method::Batch(_) => {
            let results = Several::decode(message)?.results;
            results.into_iter().map(|result| Ok((single(result)?.0, None))).collect::<Outcome<_>>()?
        }
        Method::Stream => {
            let (answer, id) = single(Single::decode(message)?)?;
            vec![(answer, Some(usize::from_str_radix(&id, 16)?))]
        }
    })
}

fn single(result: Single) -> Outcome<(Answer, String)> {
    let response = result.response.ok_or("an error instead of a decision")?;
    Ok((authorized(&response)?, response.request_id))
}

fn authorized(response: &Authorized) -> Outcome<Answer> {
    let is_allow = match pb::Decision::try_from(response.decision) {
        Ok(pb::Decision::Allow) => true,
        Ok(pb::Decision::Deny) => false,
        _ => return Err(format!("{} is no decision", response.decision).into()),
    };
    Ok(Answer { is_allow, reason: Some(response.reason) })
}

fn checked(response: &Checked) -> Outcome<Answer> {
    // Envoy takes an answer without a status for an allow. It is a fault, though.
    match response.status.as_ref().map(|status| status.code) {
        Some(0) => Ok(Answer { is_allow: true, reason: None }),
        Some(PERMISSION_DENIED) => Ok(Answer { is_allow: false, reason: None }),
        found => Err(format!("the status of an answer to Envoy is {found:?}").into()),
    }
}
