//! How long a decision may take.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Request;

use super::guard::Arrived;

static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// There is no answer at the deadline.
#[derive(Debug)]
pub(super) struct TooLate;

/// Until when an answer is of use: what the call's `grpc-timeout` grants, and at most `limit`, from when it came.
pub(super) fn of<T>(request: &Request<T>, limit: Duration) -> Instant {
    let arrived = request.extensions().get().copied();
    let Arrived { at, asked } =
        arrived.unwrap_or_else(|| Arrived { at: Instant::now(), asked: asked(request.metadata().as_ref()) });
    at + budget(asked, limit)
}

/// An answer that is there before the deadline. `now` is when it was asked for.
///
/// # Errors
///
/// If there is none by then, or it comes later.
pub(super) async fn in_time<T>(
    deadline: Instant,
    now: Instant,
    answer: impl Future<Output = T>,
) -> Result<T, TooLate> {
    // An answer from the cache never waits, so no timer would notice that the call waited too long for its turn.
    if now >= deadline {
        return Err(TooLate);
    }
    let (mut answer, mut overdue) = (pin!(answer), pin!(None));
    poll_fn(|context| match answer.as_mut().poll(context) {
        // Nor would a timer notice that the evaluation took too long.
        Poll::Ready(_) if is_over(deadline) => Poll::Ready(Err(TooLate)),
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
        Poll::Pending => poll_overdue(overdue.as_mut(), deadline, context).map(|()| Err(TooLate)),
    })
    .await
}

/// Completes at the deadline. The timer is made here, only for what has to wait: most answers never do.
pub(super) fn poll_overdue(
    mut timer: Pin<&mut Option<Sleep>>,
    deadline: Instant,
    context: &mut Context<'_>,
) -> Poll<()> {
    if timer.is_none() {
        timer.set(Some(sleep_until(deadline)));
    }
    timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(context))
}

/// Whether a deadline has passed.
pub(super) fn is_over(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

/// How long a caller waits, by the call's `grpc-timeout`.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    headers.get(&TIMEOUT).and_then(|value| parse(value.to_str().ok()?))
}

/// The time for a call: what its caller waits, less a tenth so that our own answer arrives before the deadline, and at most `limit`.
fn budget(asked: Option<Duration>, limit: Duration) -> Duration {
    asked.map_or(limit, |timeout| (timeout / 10 * 9).min(limit))
}

/// A timeout as gRPC writes it: at most eight digits and a unit (gRPC over HTTP/2, Requests).
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    #[test]
    fn the_units_of_grpc_are_read() {
        let cases = [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("500m", Some(Duration::from_millis(500))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("m", None),
            ("-1m", None),
            ("+1m", None),
            ("999999999m", None),
            ("1x", None),
            ("1é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_budget_ends_before_the_deadline_and_has_a_limit() {
        let budget_of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(&TIMEOUT, value.parse().unwrap());
            budget(asked(&headers), LIMIT)
        };
        assert_eq!(budget_of("100m"), Duration::from_millis(90));
        assert_eq!(budget_of("0n"), Duration::ZERO);
        // The longest that gRPC can say is some eleven thousand years.
        for no_limit in ["1H", "99999999H", "999999999H", "soon", "-1S", "1"] {
            assert_eq!(budget_of(no_limit), LIMIT, "{no_limit}");
        }
        assert_eq!(budget(asked(&HeaderMap::new()), LIMIT), LIMIT);
    }

    #[tokio::test]
    async fn time_runs_from_when_a_call_came() {
        let mut request = Request::new(());
        let arrived = Instant::now() - Duration::from_secs(1);
        request.extensions_mut().insert(Arrived { at: arrived, asked: None });
        assert_eq!(of(&request, LIMIT), arrived + LIMIT);
        request.extensions_mut().insert(Arrived { at: arrived, asked: Some(Duration::from_secs(1)) });
        assert_eq!(of(&request, LIMIT), arrived + Duration::from_millis(900));
    }

    #[tokio::test]
    async fn an_answer_after_the_deadline_is_none() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(600));
        assert!(in_time(later, now, ready(())).await.is_ok());
        assert!(in_time(now, now, ready(())).await.is_err(), "it waited too long for its turn");
        assert!(in_time(now + Duration::from_millis(1), now, pending::<()>()).await.is_err());
        let soon = Instant::now() + Duration::from_millis(20);
        let evaluation = async { while !is_over(soon) {} };
        assert!(in_time(soon, now, evaluation).await.is_err(), "it never waited, and took too long");
    }
}
