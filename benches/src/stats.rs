//! What is typical of some figures, and how far do they spread?

/// Of several measurements of the same thing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// The 10th percentile.
    pub(crate) low: f64,
    /// The 90th.
    pub(crate) high: f64,
    /// The largest.
    pub(crate) worst: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self { median: quantile(&sorted, 0.5), low: quantile(&sorted, 0.1), high: quantile(&sorted, 0.9), worst: quantile(&sorted, 1.0) }
    }
}

/// Between the two nearest figures.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = q * last as f64;
    let below = place.floor();
    let (low, high) = (sorted[below as usize], sorted[(below as usize + 1).min(last)]);
    // Infinity stands for what never happened; between two of them there is nothing.
    if low == high { low } else { low + (high - low) * (place - below) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        let spread = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(spread, Spread { median: 3.0, low: 1.4, high: 4.6, worst: 5.0 });
        assert_eq!(Spread::of([1.0, 2.0]).median, 1.5);
        assert_eq!(Spread::of([1.0, f64::INFINITY, f64::INFINITY]).median, f64::INFINITY);
        assert!(Spread::of([]).median.is_nan());
    }
}
