//! Takes things in turn, each as often as its weight says.

/// Chooses by smooth weighted round-robin: of weights 5, 1 and 1 it makes `a a b a c a a`, not `a a a a a b
/// c`, so that every part of a run has the mixture of the whole.
#[derive(Clone, Debug)]
pub struct Rotation {
    weights: Vec<i64>,
    /// How far behind its weight each is.
    credit: Vec<i64>,
}

impl Rotation {
    /// Of as many things as there are weights.
    #[must_use]
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let weights: Vec<_> = weights.into_iter().map(i64::from).collect();
        Self { credit: vec![0; weights.len()], weights }
    }

    /// The index of the next one; 0 if there is none.
    pub fn take(&mut self) -> usize {
        let total: i64 = self.weights.iter().sum();
        self.credit.iter_mut().zip(&self.weights).for_each(|(credit, weight)| *credit += weight);
        // The first of the largest.
        let next = (0..self.credit.len()).rev().max_by_key(|at| self.credit[*at]).unwrap_or_default();
        if let Some(credit) = self.credit.get_mut(next) {
            *credit -= total;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_as_often_as_its_weight_and_spread_out() {
        let mut rotation = Rotation::new([5, 1, 1]);
        let taken: Vec<_> = (0..7).map(|_| rotation.take()).collect();
        assert_eq!(taken, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn a_single_one_is_always_next() {
        let mut rotation = Rotation::new([3]);
        assert_eq!([rotation.take(), rotation.take()], [0, 0]);
    }
}
