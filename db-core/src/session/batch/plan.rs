//! The rows of a batch that fit into one request.

use std::collections::HashMap;

use mysql::{Params, Value};

/// Rows whose columns have one type each.
#[derive(Default)]
pub(super) struct Plan {
    rows: Vec<Params>,
    types: Types,
    bytes: usize,
}

#[derive(Debug, Default)]
enum Types {
    #[default]
    Nothing,
    Positional(Vec<Type>),
    Named(HashMap<Vec<u8>, Type>),
}

/// The types that the protocol tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// Fits any type. Where all of a group's values are NULL, none is ever read by another type.
    Null,
    Bytes,
    Int,
    UInt,
    Float,
    Double,
    Date,
    Time,
}

impl Type {
    fn of(value: &Value) -> Self {
        match value {
            Value::NULL => Self::Null,
            Value::Bytes(_) => Self::Bytes,
            Value::Int(_) => Self::Int,
            Value::UInt(_) => Self::UInt,
            Value::Float(_) => Self::Float,
            Value::Double(_) => Self::Double,
            Value::Date(..) => Self::Date,
            Value::Time(..) => Self::Time,
        }
    }

    fn fits(self, value: &Value) -> bool {
        let other = Self::of(value);
        self == other || self == Self::Null || other == Self::Null
    }

    fn learn(&mut self, value: &Value) {
        if *self == Self::Null {
            *self = Self::of(value);
        }
    }
}

impl Plan {
    /// How large the request is so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row. One that does not fit the types of those before is given back.
    pub(super) fn add(&mut self, row: Params, bytes: usize) -> Option<Params> {
        if !self.fits(&row) {
            return Some(row);
        }
        self.start(row, bytes);
        None
    }

    /// Adds a row that fits.
    pub(super) fn start(&mut self, row: Params, bytes: usize) {
        match (&mut self.types, &row) {
            (Types::Positional(types), Params::Positional(values)) => {
                types.iter_mut().zip(values).for_each(|(known, value)| known.learn(value));
            }
            (Types::Named(types), Params::Named(values)) => {
                for (name, value) in values {
                    if let Some(known) = types.get_mut(name) {
                        known.learn(value);
                    }
                }
            }
            (_, Params::Positional(values)) => self.types = Types::Positional(values.iter().map(Type::of).collect()),
            (_, Params::Named(values)) => {
                self.types = Types::Named(values.iter().map(|(name, value)| (name.clone(), Type::of(value))).collect());
            }
            (_, Params::Empty) => {}
        }
        self.bytes += bytes;
        self.rows.push(row);
    }

    fn fits(&self, row: &Params) -> bool {
        match (&self.types, row) {
            (Types::Nothing, _) => true,
            (Types::Positional(types), Params::Positional(values)) => {
                types.len() == values.len() && types.iter().zip(values).all(|(known, value)| known.fits(value))
            }
            (Types::Named(types), Params::Named(values)) => {
                types.len() == values.len() && values.iter().all(|(name, value)| types.get(name).is_some_and(|known| known.fits(value)))
            }
            _ => false,
        }
    }

    /// All rows, and starts anew.
    pub(super) fn take(&mut self) -> Vec<Params> {
        self.types = Types::Nothing;
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }
}

/// How many bytes the row takes in a request, at least and at most: a named parameter can occur more than once.
pub(in crate::session) fn size(row: &Params, params: u16) -> (usize, usize) {
    /// The request's header, and room to spare.
    const HEADER: usize = 64;
    // With its type and its indicator.
    let of = |value: &Value| usize::try_from(value.bin_len()).unwrap_or(usize::MAX).saturating_add(3);
    match row {
        Params::Empty => (HEADER, HEADER),
        Params::Positional(values) => {
            let sum = values.iter().map(of).fold(HEADER, usize::saturating_add);
            (sum, sum)
        }
        Params::Named(values) => {
            let sum = values.values().map(of).fold(HEADER, usize::saturating_add);
            let largest = values.values().map(of).max().unwrap_or(0);
            (sum, sum.max(largest.saturating_mul(usize::from(params)).saturating_add(HEADER)))
        }
    }
}

#[cfg(test)]
mod tests {
    use mysql::params;

    use super::*;

    fn groups(rows: Vec<Params>) -> Vec<usize> {
        let mut plan = Plan::default();
        let mut groups = Vec::new();
        for row in rows {
            if let Some(row) = plan.add(row, 1) {
                groups.push(plan.take().len());
                plan.start(row, 1);
            }
        }
        groups.push(plan.take().len());
        groups
    }

    #[test]
    fn consecutive_rows_of_the_same_types_are_one_group() {
        let int = |value: i64| Params::from((value, "text"));
        assert_eq!(groups(vec![int(1), int(-1), int(i64::MAX)]), [3]);
        assert_eq!(groups(vec![int(1), Params::from((1_u64, "text")), int(1)]), [1, 1, 1]);
        assert_eq!(groups(vec![int(1), Params::from((1_u64, "text")), Params::from((2_u64, "text"))]), [1, 2]);
        assert_eq!(groups(vec![int(1), Params::from((1.5_f64, "text")), Params::from((1.5_f32, "text"))]), [1, 1, 1]);
    }

    #[test]
    fn null_fits_any_type_and_fixes_none() {
        let row = |a: Value, b: Value| Params::Positional(vec![a, b]);
        let (null, int, text) = (Value::NULL, Value::Int(1), Value::from("a"));
        assert_eq!(groups(vec![row(null.clone(), int.clone()), row(int.clone(), null.clone()), row(int.clone(), int.clone())]), [3]);
        assert_eq!(groups(vec![row(null.clone(), null.clone()), row(int.clone(), text.clone()), row(text, int)]), [2, 1]);
    }

    #[test]
    fn rows_of_another_form_are_another_group() {
        let positional = Params::from((1,));
        let named = params! { "a" => 1 };
        assert_eq!(groups(vec![positional.clone(), named.clone(), named.clone(), params! { "a" => "x" }, positional]), [1, 2, 1, 1]);
        assert_eq!(groups(vec![named, params! { "b" => 1 }, params! { "b" => 1, "c" => 1 }]), [1, 1, 1]);
    }

    #[test]
    fn a_rows_size_is_no_smaller_than_what_is_sent() {
        let (least, most) = size(&Params::from(("a".repeat(1000), 1)), 2);
        assert!(least == most && least > 1000 + 8);
        let (least, most) = size(&params! { "a" => "a".repeat(1000), "b" => 1 }, 4);
        assert!((1000..2000).contains(&least) && most > 4000);
    }
}
