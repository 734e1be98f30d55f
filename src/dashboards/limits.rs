//! Targets and critical values of what panels show.

/// Which values are bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bad {
    Above,
    Below,
}

/// From where on a value is bad, and from where on critical.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Limits {
    pub(super) bad: Bad,
    pub(super) target: Option<f64>,
    pub(super) critical: Option<f64>,
}

impl Limits {
    pub(super) const NONE: Self = Self { bad: Bad::Above, target: None, critical: None };

    pub(super) const fn above(target: f64) -> Self {
        Self { target: Some(target), ..Self::NONE }
    }

    pub(super) const fn below(target: f64) -> Self {
        Self { bad: Bad::Below, target: Some(target), critical: None }
    }

    pub(super) const fn critical(self, critical: f64) -> Self {
        Self { critical: Some(critical), ..self }
    }

    /// The target and the critical value with their names, as lines in a chart.
    pub(super) fn lines(self) -> Vec<(&'static str, f64)> {
        let named = [("target", self.target), ("critical", self.critical)];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
