//! The parameters of a transaction's first statement, in case it has to be sent again.
//!
//! The driver takes the parameters of a statement away. Those of the first one are copied into memory that the next
//! transaction uses again: keeping them costs no allocation.
use mysql::{Params, Value};

/// Larger ones are sent once.
const LARGEST: usize = 64 << 10;

/// A copy of the first statement's parameters.
#[derive(Default)]
pub(super) struct Resend {
    shape: Shape,
    values: Vec<Value>,
    names: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Default)]
enum Shape {
    /// No parameters are kept: there is no such statement, or they are too large.
    #[default]
    Nothing,
    Empty,
    Positional,
    Named,
}

impl Resend {
    pub(super) fn keep(&mut self, params: &Params) {
        self.shape = match params {
            Params::Empty => Shape::Empty,
            Params::Positional(values) if copy_values(values.iter(), &mut self.values) => Shape::Positional,
            Params::Named(named) if copy_values(named.values(), &mut self.values) => {
                copy(named.keys(), &mut self.names, |kept, name| kept.clone_from(name));
                Shape::Named
            }
            _ => Shape::Nothing,
        };
    }

    pub(super) fn again(&self) -> Option<Params> {
        match self.shape {
            Shape::Nothing => None,
            Shape::Empty => Some(Params::Empty),
            Shape::Positional => Some(Params::Positional(self.values.clone())),
            Shape::Named => Some(Params::Named(self.names.iter().cloned().zip(self.values.iter().cloned()).collect())),
        }
    }
}

/// Whether they are small enough to be kept, in bytes as far as it matters. If not, a part of them is copied in vain.
fn copy_values<'v>(from: impl Iterator<Item = &'v Value>, to: &mut Vec<Value>) -> bool {
    let mut room = LARGEST;
    let mut fits = true;
    let within = from.map_while(|value| {
        if let Value::Bytes(bytes) = value {
            fits = bytes.len() <= room;
            room -= bytes.len().min(room);
        }
        fits.then_some(value)
    });
    copy(within, to, |kept, value| match (kept, value) {
        // `Value` itself copies into no memory that is there.
        (Value::Bytes(kept), Value::Bytes(bytes)) => kept.clone_from(bytes),
        (kept, value) => *kept = value.clone(),
    });
    fits
}

fn copy<'v, T: Clone + 'v>(from: impl Iterator<Item = &'v T>, to: &mut Vec<T>, over: impl Fn(&mut T, &T)) {
    let mut count = 0;
    for value in from {
        match to.get_mut(count) {
            Some(kept) => over(kept, value),
            None => to.push(value.clone()),
        }
        count += 1;
    }
    to.truncate(count);
}

#[cfg(test)]
mod tests {
    use mysql::params;

    use super::*;

    #[test]
    fn what_was_kept_last_is_given_back_whatever_was_kept_before() {
        let all = [
            Params::Empty,
            ("a text", 1, Option::<u8>::None, 2.5).into(),
            (1,).into(),
            params! { "name" => "alice", "id" => 7 },
            ("another text, which is longer", vec![0_u8; 100], 3).into(),
            params! { "x" => 1, "y" => "two", "z" => vec![3_u8] },
            ("",).into(),
        ];
        for before in &all {
            for params in &all {
                let mut resend = Resend::default();
                resend.keep(before);
                resend.keep(params);
                assert_eq!(resend.again().as_ref(), Some(params), "{params:?} after {before:?}");
            }
        }
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut resend = Resend::default();
        for (length, kept) in [(LARGEST, true), (LARGEST + 1, false)] {
            resend.keep(&(vec![0_u8; length],).into());
            assert_eq!(resend.again().is_some(), kept, "{length}");
            resend.keep(&params! { "large" => vec![0_u8; length] });
            assert_eq!(resend.again().is_some(), kept, "{length}");
        }
    }
}
