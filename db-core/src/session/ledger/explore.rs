//! The exploration of a model: every state that can be reached from the first.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// How many states there are, or how the first broken promise comes about. `next` adds the states that may follow one.
pub(super) fn explore<S: Clone + Eq + Hash>(
    start: S,
    violation: impl Fn(&S) -> Option<String>,
    next: impl Fn(&S, &mut Vec<S>),
) -> Result<usize, String> {
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([(start, 0)]);
    while let Some((state, steps)) = queue.pop_front() {
        if let Some(violation) = violation(&state) {
            return Err(format!("after {steps} steps and {} states: {violation}", seen.len()));
        }
        let mut following = Vec::new();
        next(&state, &mut following);
        for state in following {
            if !seen.contains(&state) {
                seen.insert(state.clone());
                queue.push_back((state, steps + 1));
            }
        }
    }
    Ok(seen.len())
}
