//! Thresholds of a load: `p(95)<30s`, `rate<0.001`, `count==0`, in the manner of k6.
//!
//! A threshold is judged on a [`Span`]: what is measured lies between its two ends, because canaries in
//! flight and those that nobody could observe may still count either way. It is kept if both ends keep it,
//! broken if neither does, and undecided otherwise. So blindness neither keeps nor breaks one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use toml::Value;

use super::ratio::Ratio;
use crate::keys::value::{Parsed, duration, show_duration, size};

/// Between what two values that lies which is measured. Durations are in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub low: f64,
    pub high: f64,
}

impl Span {
    /// What is known exactly.
    #[must_use]
    pub const fn exactly(value: f64) -> Self {
        Self { low: value, high: value }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// From the planned injection to the end stage, or over one hop.
    Latency,
    /// Canaries that are lost or dead-lettered.
    Loss,
    /// Second stored copies.
    Duplicates,
    /// Copies that were found with another tenant.
    Leaks,
    /// Copies that are cut or changed.
    Corrupted,
    /// Canaries that the log group did not take.
    Refused,
    /// Canaries that were put, of those planned.
    Reached,
    /// Calls that a service throttled.
    Throttled,
    /// By how many seconds latency grows in a second.
    Growth,
}

impl Metric {
    const NAMES: [(&'static str, Self); 9] = [
        ("latency", Self::Latency),
        ("loss", Self::Loss),
        ("duplicates", Self::Duplicates),
        ("leaks", Self::Leaks),
        ("corrupted", Self::Corrupted),
        ("refused", Self::Refused),
        ("reached", Self::Reached),
        ("throttled", Self::Throttled),
        ("growth", Self::Growth),
    ];

    /// As in a profile.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, metric)| *metric == self).map_or("", |(name, _)| name)
    }

    const fn allows(self, of: Aggregate) -> bool {
        match self {
            Self::Latency => matches!(of, Aggregate::Percentile(_) | Aggregate::Max),
            Self::Loss
            | Self::Duplicates
            | Self::Leaks
            | Self::Corrupted
            | Self::Refused
            | Self::Throttled => matches!(of, Aggregate::Rate | Aggregate::Count),
            Self::Reached => matches!(of, Aggregate::Rate),
            Self::Growth => matches!(of, Aggregate::Value),
        }
    }

    const fn aggregates(self) -> &'static str {
        match self {
            Self::Latency => "p(95) or any other percentile, med, max",
            Self::Loss
            | Self::Duplicates
            | Self::Leaks
            | Self::Corrupted
            | Self::Refused
            | Self::Throttled => "rate, count",
            Self::Reached => "rate",
            Self::Growth => "value",
        }
    }

    /// Whether it tells of a fault that too high a rate does not excuse: a pipeline may queue or refuse what is too
    /// much for it, but must not give it to another tenant or damage it.
    #[must_use]
    pub const fn is_harm(self) -> bool {
        match self {
            Self::Leaks | Self::Corrupted => true,
            Self::Latency
            | Self::Loss
            | Self::Duplicates
            | Self::Refused
            | Self::Reached
            | Self::Throttled
            | Self::Growth => false,
        }
    }
}

/// Of which canaries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Part {
    /// All, end to end.
    #[default]
    All,
    /// The hop with this name.
    Hop(Arc<str>),
    /// The canaries of this many bytes.
    Size(u32),
    /// The canaries of the tenant with this name.
    Tenant(Arc<str>),
}

/// What of the values is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregate {
    /// The smallest value that this many percent do not exceed.
    Percentile(f64),
    Max,
    Rate,
    Count,
    Value,
}

/// How it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

impl Comparison {
    /// Those of two characters first.
    const ALL: [(&'static str, Self); 5] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("<", Self::Below),
        (">", Self::Above),
    ];

    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
            Self::Equal => (value - limit).abs() < f64::EPSILON,
        }
    }

    /// Whether it is the same for every value from `least` to `most`: always kept, or never.
    fn constant(self, limit: f64, least: f64, most: f64) -> Option<&'static str> {
        match [least, most].map(|value| self.holds(value, limit)) {
            [true, true] => Some("always"),
            [false, false] if self == Self::Equal && (least..=most).contains(&limit) => None,
            [false, false] => Some("never"),
            [true, false] | [false, true] => None,
        }
    }
}

/// Whether a threshold holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Kept,
    Broken,
    /// It depends on canaries of which nothing is known, or there are none.
    Undecided,
}

impl Judged {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "broken",
            Self::Undecided => "undecided",
        }
    }

    /// Of several: broken if one is, and kept only if all are.
    #[must_use]
    pub fn of_all(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::Kept, |worst, next| match (worst, next) {
            (Self::Broken, _) | (_, Self::Broken) => Self::Broken,
            (Self::Undecided, _) | (_, Self::Undecided) => Self::Undecided,
            (Self::Kept, Self::Kept) => Self::Kept,
        })
    }
}

/// One threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    pub metric: Metric,
    pub part: Part,
    pub aggregate: Aggregate,
    comparison: Comparison,
    /// In seconds for durations.
    limit: f64,
    /// The comparison as it was written: `p(95)<30s`.
    expression: String,
    /// If set, the run ends once the threshold is broken, but not before this much of the judged time.
    pub abort_after: Option<Duration>,
}

impl Threshold {
    /// Reads a threshold: `latency{hop:archive}` and `p(95)<500ms`.
    ///
    /// # Errors
    ///
    /// What would be right, for people.
    pub fn parse(subject: &str, expression: &str) -> Parsed<Self> {
        let (metric, part) = read_subject(subject)?;
        let wrong = || {
            format!(
                "\"{expression}\" is not a valid threshold; write for example \"p(95)<30s\", \"rate<0.001\" or \"count==0\""
            )
        };
        let text: String = expression.chars().filter(|c| !c.is_whitespace()).collect();
        let (at, sign, comparison) = Comparison::ALL
            .iter()
            .find_map(|(sign, comparison)| Some((text.find(sign)?, *sign, *comparison)))
            .ok_or_else(wrong)?;
        let (aggregate, limit) = (&text[..at], &text[at + sign.len()..]);
        let aggregate = read_aggregate(aggregate).ok_or_else(wrong)?;
        if !metric.allows(aggregate) {
            let (name, right) = (metric.as_str(), metric.aggregates());
            return Err(format!("\"{expression}\" does not fit {name}; it has {right}"));
        }
        let limit = match metric {
            Metric::Latency => duration(&Value::String(limit.to_owned()))?.as_secs_f64(),
            _ => limit
                .parse()
                .ok()
                .filter(|limit: &f64| limit.is_finite() && *limit >= 0.0)
                .ok_or_else(wrong)?,
        };
        check_limit(&text, aggregate, comparison, limit)?;
        let expression = text;
        Ok(Self { metric, part, aggregate, comparison, limit, expression, abort_after: None })
    }

    /// That a percentile of the latency is below a target.
    #[must_use]
    pub fn latency(part: Part, percent: f64, target: Duration) -> Self {
        Self {
            metric: Metric::Latency,
            part,
            aggregate: Aggregate::Percentile(percent),
            comparison: Comparison::Below,
            limit: target.as_secs_f64(),
            expression: format!("p({percent})<{}", show_duration(target)),
            abort_after: None,
        }
    }

    /// Judges what was measured; `None` is nothing.
    #[must_use]
    pub fn judge(&self, measured: Option<Span>) -> Judged {
        let Some(Span { low, high }) = measured else { return Judged::Undecided };
        match [low, high].map(|value| self.comparison.holds(value, self.limit)) {
            // Both ends of `== 0` may differ from 0 on different sides only if 0 lies between them.
            [false, false]
                if self.comparison == Comparison::Equal && low < self.limit && self.limit < high =>
            {
                Judged::Undecided
            }
            [true, true] => Judged::Kept,
            [false, false] => Judged::Broken,
            [true, false] | [false, true] => Judged::Undecided,
        }
    }

    /// Why it says little that so many canaries keep it: `300 canaries cannot show a loss below 1.3 %`. A rate is kept
    /// if no canary of a few is counted, although the 95 % interval of the true one reaches beyond the limit; and a
    /// percentile of a few is the longest of them.
    #[must_use]
    pub fn cannot_show(&self, canaries: u64) -> Option<String> {
        let what = match (self.metric, self.aggregate) {
            (Metric::Latency, Aggregate::Percentile(percent)) => {
                // Without what rounding adds: 100 / (100 - 99.9) is a little more than 1,000.
                let least = (100.0 / (100.0 - percent) - 1e-6).ceil();
                let is_few = percent < 100.0 && (1.0..least).contains(&(canaries as f64));
                return is_few
                    .then(|| format!("{canaries} canaries cannot show P{percent}, which needs {least:.0}"));
            }
            (Metric::Loss, Aggregate::Rate) => "a loss",
            (Metric::Duplicates, Aggregate::Rate) => "a rate of duplicates",
            (Metric::Leaks, Aggregate::Rate) => "a rate of leaks",
            (Metric::Corrupted, Aggregate::Rate) => "a rate of corrupted copies",
            (Metric::Refused, Aggregate::Rate) => "a rate of refused events",
            // Counts and the longest are what they are. Calls that are throttled, and what was reached, are not
            // samples of canaries.
            (Metric::Latency | Metric::Reached | Metric::Throttled | Metric::Growth, _)
            | (
                Metric::Loss | Metric::Duplicates | Metric::Leaks | Metric::Corrupted | Metric::Refused,
                Aggregate::Percentile(_) | Aggregate::Max | Aggregate::Count | Aggregate::Value,
            ) => return None,
        };
        // No number of canaries shows that there is none at all.
        let has_limit = matches!(self.comparison, Comparison::Below | Comparison::AtMost) && self.limit > 0.0;
        let high = Ratio::of(0, canaries)?.high;
        (has_limit && high > self.limit)
            .then(|| format!("{canaries} canaries cannot show {what} below {}", percent_of(high)))
    }

    /// Of what: `latency{hop:archive}`.
    #[must_use]
    pub fn subject(&self) -> String {
        let name = self.metric.as_str();
        match &self.part {
            Part::All => name.to_owned(),
            Part::Hop(hop) => format!("{name}{{hop:{hop}}}"),
            Part::Size(bytes) => format!("{name}{{size:{bytes}B}}"),
            Part::Tenant(tenant) => format!("{name}{{tenant:{tenant}}}"),
        }
    }

    /// The comparison: `p(95)<500ms`.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject(), self.expression)
    }
}

/// What thresholds say little of, each judged on so many canaries: [`Threshold::cannot_show`], with those of one text
/// together.
#[must_use]
pub fn cannot_show<'a>(all: impl IntoIterator<Item = (&'a Threshold, u64)>) -> Vec<String> {
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for (threshold, canaries) in all {
        let Some(text) = threshold.cannot_show(canaries) else { continue };
        let threshold = threshold.to_string();
        match told.iter_mut().find(|(known, _)| *known == text) {
            Some((_, of)) => of.push(threshold),
            None => told.push((text, vec![threshold])),
        }
    }
    let line =
        |(text, of): (String, Vec<String>)| format!("{text}; a longer run is needed for {}", of.join(", "));
    told.into_iter().map(line).collect()
}

/// A small ratio in percent, with two digits.
fn percent_of(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let digits = match percent {
        percent if percent >= 10.0 => 0,
        percent if percent >= 1.0 => 1,
        percent if percent >= 0.1 => 2,
        percent if percent >= 0.01 => 3,
        _ => 4,
    };
    format!("{percent:.digits$} %")
}

/// Refuses a comparison that says nothing, because every value keeps it, or none does.
fn check_limit(text: &str, aggregate: Aggregate, comparison: Comparison, limit: f64) -> Parsed<()> {
    let (most, values) = match aggregate {
        Aggregate::Rate => (1.0, "a rate is between 0 and 1"),
        Aggregate::Count => (f64::INFINITY, "a count is 0 or more"),
        Aggregate::Percentile(_) | Aggregate::Max => (f64::INFINITY, "a latency is 0 or more"),
        // Latency may also become shorter.
        Aggregate::Value => return Ok(()),
    };
    let constant = match comparison.constant(limit, 0.0, most) {
        None if aggregate == Aggregate::Count && comparison == Comparison::Equal && limit.fract() != 0.0 => {
            return Err(format!("\"{text}\" is never kept: a count is a whole number"));
        }
        None => return Ok(()),
        Some(constant) => constant,
    };
    let percent = if aggregate == Aggregate::Rate && (1.0..=100.0).contains(&limit) {
        let sign = Comparison::ALL.iter().find(|(_, it)| *it == comparison).map_or("", |(sign, _)| sign);
        // Without the digits that only the division brings.
        let ratio = (limit * 1e8).round() / 1e10;
        format!("; write \"rate{sign}{ratio}\" for {limit} %")
    } else {
        String::new()
    };
    Err(format!("\"{text}\" is {constant} kept: {values}{percent}"))
}

fn read_subject(text: &str) -> Parsed<(Metric, Part)> {
    let (name, rest) = match text.split_once('{') {
        Some((name, rest)) => (name.trim(), Some(rest)),
        None => (text.trim(), None),
    };
    let metric = Metric::NAMES.iter().find(|(known, _)| *known == name).map(|(_, metric)| *metric);
    let metric = metric.ok_or_else(|| {
        let names: Vec<_> = Metric::NAMES.iter().map(|(name, _)| *name).collect();
        format!("there is no metric \"{name}\"; there are {}", names.join(", "))
    })?;
    let Some(rest) = rest else { return Ok((metric, Part::All)) };
    let wrong = || {
        format!(
            "\"{text}\" is not a valid part; write for example \"{name}{{hop:archive}}\", {{size:100B}} or {{tenant:acme}}"
        )
    };
    let (of, value) = rest.strip_suffix('}').and_then(|part| part.split_once(':')).ok_or_else(wrong)?;
    let part = match (metric, of.trim(), value.trim()) {
        (_, _, "") => return Err(wrong()),
        (Metric::Latency | Metric::Loss, "hop", hop) => Part::Hop(hop.into()),
        (Metric::Latency, "size", bytes) => {
            let bytes = size(&Value::String(bytes.to_owned()))?;
            Part::Size(u32::try_from(bytes).map_err(|_| wrong())?)
        }
        (Metric::Latency | Metric::Loss, "tenant", tenant) => Part::Tenant(tenant.into()),
        _ => {
            return Err(format!(
                "{name} has no part {of}; latency has hop, size and tenant, loss has hop and tenant"
            ));
        }
    };
    Ok((metric, part))
}

fn read_aggregate(text: &str) -> Option<Aggregate> {
    Some(match text {
        "med" => Aggregate::Percentile(50.0),
        "max" => Aggregate::Max,
        "rate" => Aggregate::Rate,
        "count" => Aggregate::Count,
        "value" => Aggregate::Value,
        other => {
            let percent: f64 = other.strip_prefix("p(")?.strip_suffix(')')?.parse().ok()?;
            Aggregate::Percentile(Some(percent).filter(|percent| *percent > 0.0 && *percent <= 100.0)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(subject: &str, expression: &str, low: f64, high: f64) -> Judged {
        Threshold::parse(subject, expression).unwrap().judge(Some(Span { low, high }))
    }

    #[test]
    fn a_threshold_is_kept_only_if_it_is_kept_whatever_is_not_known() {
        assert_eq!(judged("latency", "p(95)<30s", 12.0, 29.9), Judged::Kept);
        assert_eq!(judged("latency", "p(95)<30s", 12.0, 30.0), Judged::Undecided);
        assert_eq!(judged("latency", "p(95) < 30s", 30.0, f64::INFINITY), Judged::Broken);
        assert_eq!(judged("leaks", "count==0", 0.0, 0.0), Judged::Kept);
        assert_eq!(judged("leaks", "count==0", 0.0, 1.0), Judged::Undecided);
        assert_eq!(judged("leaks", "count==0", 1.0, 3.0), Judged::Broken);
        assert_eq!(judged("reached", "rate>=0.99", 0.98, 0.985), Judged::Broken);
    }

    #[test]
    fn a_few_canaries_that_keep_a_threshold_show_little() {
        let told = |subject: &str, expression: &str, canaries| {
            Threshold::parse(subject, expression).unwrap().cannot_show(canaries)
        };
        let expected = "300 canaries cannot show a loss below 1.3 %".to_owned();
        assert_eq!(told("loss{hop:archive}", "rate<0.001", 300), Some(expected.clone()));
        assert_eq!(told("loss", "rate<=0.01", 300), Some(expected));
        assert_eq!(told("loss", "rate<0.02", 300), None);
        assert_eq!(told("loss", "rate<0.001", 4_000), None);
        assert_eq!(told("leaks", "count==0", 3), None, "of those that were sent, there is none");
        assert_eq!(told("loss", "rate<=0", 3), None, "no number would do");
        assert_eq!(told("loss", "rate<0.001", 0), None, "nothing was measured at all");
        let expected = "99 canaries cannot show P99, which needs 100".to_owned();
        assert_eq!(
            (told("latency", "p(99)<1s", 99), told("latency", "p(99)<1s", 100)),
            (Some(expected), None)
        );
        assert_eq!((told("latency", "p(99.9)<1s", 1_000), told("latency", "max<1s", 1)), (None, None));
        assert_eq!((told("latency", "p(100)<1s", 1), told("latency", "p(95)<1s", 20)), (None, None));
    }

    #[test]
    fn without_a_measurement_nothing_is_kept() {
        assert_eq!(Threshold::parse("loss", "rate<0.001").unwrap().judge(None), Judged::Undecided);
    }

    #[test]
    fn several_are_kept_only_together() {
        use Judged::{Broken, Kept, Undecided};
        assert_eq!(Judged::of_all([Kept, Undecided, Broken]), Broken);
        assert_eq!(Judged::of_all([Kept, Undecided]), Undecided);
        assert_eq!(Judged::of_all([Kept, Kept]), Kept);
    }

    #[test]
    fn a_threshold_prints_as_it_was_written() {
        for (subject, expression) in [
            ("latency{hop:archive}", "p(95)<500ms"),
            ("latency{size:10240B}", "p(99.9)<=1m30s"),
            ("loss{tenant:acme}", "rate<0.001"),
            ("growth", "value<0.02"),
        ] {
            let read = Threshold::parse(subject, expression).unwrap();
            assert_eq!(read.to_string(), format!("{subject}: {expression}"));
        }
    }

    #[test]
    fn a_faulty_threshold_is_told_what_would_be_right() {
        let fault = |subject, expression| Threshold::parse(subject, expression).unwrap_err();
        assert!(fault("latency", "p(95)<30").contains("no unit"), "{}", fault("latency", "p(95)<30"));
        assert!(fault("latency", "rate<0.1").contains("it has p(95)"));
        assert!(fault("speed", "p(95)<1s").contains("there is no metric \"speed\"; there are latency"));
        assert!(fault("latency", "p(0)<1s").contains("is not a valid threshold"));
        assert!(fault("loss{size:1KB}", "rate<1").contains("loss has no part size"));
        assert!(fault("loss", "rate").contains("is not a valid threshold"));
        assert!(fault("latency{hop:", "p(95)<1s").contains("is not a valid part"));
    }

    #[test]
    fn a_threshold_that_says_nothing_is_refused() {
        let fault = |subject, expression| Threshold::parse(subject, expression).unwrap_err();
        assert_eq!(
            fault("loss", "rate < 5"),
            "\"rate<5\" is always kept: a rate is between 0 and 1; write \"rate<0.05\" for 5 %"
        );
        assert_eq!(
            fault("reached", "rate>99"),
            "\"rate>99\" is never kept: a rate is between 0 and 1; write \"rate>0.99\" for 99 %"
        );
        assert!(fault("loss", "rate<=1").contains("always kept"));
        assert!(fault("loss", "rate<7.3").contains("\"rate<0.073\" for 7.3 %"));
        assert!(fault("reached", "rate>=99.9").contains("\"rate>=0.999\" for 99.9 %"));
        assert!(fault("reached", "rate>=0").contains("always kept: a rate is between 0 and 1"));
        assert_eq!(fault("loss", "rate<0"), "\"rate<0\" is never kept: a rate is between 0 and 1");
        assert_eq!(fault("leaks", "count<0"), "\"count<0\" is never kept: a count is 0 or more");
        assert!(fault("leaks", "count>=0").contains("always kept"));
        assert!(fault("leaks", "count==0.5").contains("a count is a whole number"));
        assert!(fault("loss", "rate==2").contains("never kept"));
    }

    #[test]
    fn a_threshold_at_the_edge_may_be_kept_or_broken() {
        for expression in ["rate<1", "rate<=0", "rate==0", "rate==1", "rate>=1", "rate>0", "rate==0.5"] {
            assert!(Threshold::parse("loss{hop:archive}", expression).is_ok(), "{expression}");
        }
        for expression in ["count<=0", "count==7", "count<0.5", "count>0"] {
            assert!(Threshold::parse("leaks", expression).is_ok(), "{expression}");
        }
    }
}
