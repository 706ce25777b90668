//! Work on many files at the same time.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

/// Less is done by one: a thread costs more.
const WORTH_A_HAND: usize = 64;

/// How many work at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hands {
    /// One: the others have requests to answer.
    One,
    /// One for each core: nobody is answered before it is done.
    All,
}

impl Hands {
    /// What becomes of each item, in their order. Each hand has what `begin` gives it, and works on items that are next to
    /// each other.
    pub(super) fn map<T: Send, S, R: Send>(
        self,
        mut items: Vec<T>,
        begin: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, T) -> R + Sync,
    ) -> Vec<R> {
        let hands = match self {
            Self::One => 1,
            Self::All => thread::available_parallelism().map_or(1, NonZero::get),
        };
        let all = |items: Vec<T>| {
            let mut own = begin();
            items.into_iter().map(|item| work(&mut own, item)).collect::<Vec<R>>()
        };
        let of_each = items.len().div_ceil(hands).max(WORTH_A_HAND);
        let mut parts = Vec::new();
        while items.len() > of_each {
            parts.push(items.split_off(items.len() - of_each));
        }
        let all = &all;
        thread::scope(|scope| {
            let hired: Vec<_> = parts.into_iter().rev().map(|part| scope.spawn(move || all(part))).collect();
            let mut done = all(items);
            for hand in hired {
                done.extend(hand.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            done
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_items() {
        for count in [0, 1, 63, 64, 65, 128, 129, 1_000, 10_000] {
            for hands in [Hands::One, Hands::All] {
                let doubled = hands.map((0..count).collect(), || 2, |two, item| item * *two);
                assert_eq!(doubled, (0..count).map(|item| 2 * item).collect::<Vec<_>>(), "{hands:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "the last one")]
    fn a_panic_is_passed_on() {
        Hands::All.map((0..1_000).collect(), || (), |(), item| assert!(item < 999, "the last one"));
    }
}
