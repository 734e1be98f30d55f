//! Pieces of PromQL.
//!
//! Every expression keeps `job` and `instance`: two probes with a tenant of the same name, as in staging and
//! production, or two instances that measure the same one, must not be mixed.

use std::time::Duration;

/// The series of the probes that the rules are for.
#[derive(Clone, Debug)]
pub(super) struct Probe<'a> {
    pub(super) job: &'a str,
    /// A pattern of tenants; `None` for all.
    pub(super) tenants: Option<String>,
}

/// A query that Prometheus runs when it writes the text of an alert.
pub(super) struct Lookup<'a> {
    /// What comes before the selector: `sum by (stage) (`.
    pub(super) before: &'a str,
    pub(super) name: &'a str,
    pub(super) matchers: &'a [&'a str],
    /// What comes after it: `)`.
    pub(super) after: &'a str,
    /// Labels whose values are the alert's.
    pub(super) of: &'a [&'a str],
}

impl Probe<'_> {
    /// A selector with these further matchers: `name{job="traceprobe",stage="transit"}`.
    pub(super) fn series(&self, name: &str, matchers: &[&str]) -> String {
        let mut all = vec![format!("job=\"{}\"", self.job)];
        all.extend(self.tenants.as_ref().map(|tenants| format!("tenant=~\"{tenants}\"")));
        all.extend(matchers.iter().map(|matcher| (*matcher).to_owned()));
        format!("{name}{{{}}}", all.join(","))
    }

    /// How much a counter has grown within a window, by job, instance and these labels.
    pub(super) fn increase(&self, by: &str, name: &str, matchers: &[&str], window: &str) -> String {
        format!("sum by ({}) (increase({}[{window}]))", labels(by), self.series(name, matchers))
    }

    /// Whether a condition is a problem, by job, instance and these labels: 1 where it is.
    pub(super) fn condition(&self, by: &str, name: &str, matchers: &[&str]) -> String {
        let condition = format!("condition=\"{name}\"");
        let matchers: Vec<&str> = [&*condition].into_iter().chain(matchers.iter().copied()).collect();
        format!("max by ({}) ({}) > 0", labels(by), self.series("traceprobe_condition", &matchers))
    }

    /// Takes out tenants for which a condition, or one of several separated by `|`, was a problem within a window: it has
    /// been told of, and what it leads to is still counted after its end.
    pub(super) fn unless_it_was(&self, conditions: &str, matchers: &[&str], window: &str) -> String {
        let compare = if conditions.contains('|') { "=~" } else { "=" };
        let condition = format!("condition{compare}\"{conditions}\"");
        let matchers: Vec<&str> = [&*condition].into_iter().chain(matchers.iter().copied()).collect();
        let series = self.series("traceprobe_condition", &matchers);
        let on = labels("tenant");
        format!("unless on ({on})\nmax by ({on}) (max_over_time({series}[{window}])) > 0")
    }

    /// A template with the stage of the largest series of an alert, or `otherwise` if there is none.
    pub(super) fn largest_stage(&self, series: &Lookup<'_>, otherwise: &str) -> String {
        let (query, values) = self.lookup(series);
        format!(
            "{{{{ with query (printf `topk(1, {query} > 0)`{values}) }}}}{{{{ . | first | label \"stage\" }}}}\
             {{{{ else }}}}{otherwise}{{{{ end }}}}"
        )
    }

    /// A template with the value of a series of an alert, rounded, or `some` if there is none.
    pub(super) fn number(&self, series: &Lookup<'_>) -> String {
        let (query, values) = self.lookup(series);
        format!(
            "{{{{ with query (printf `{query}`{values}) }}}}{{{{ . | first | value | printf \"%.0f\" }}}}\
             {{{{ else }}}}some{{{{ end }}}}"
        )
    }

    /// The query, with `%q` for each value, and the values.
    fn lookup(&self, Lookup { before, name, matchers, after, of }: &Lookup<'_>) -> (String, String) {
        let job = format!("job=\"{}\"", self.job);
        let matchers = matchers.iter().map(|matcher| (*matcher).to_owned());
        let of_alert = of.iter().map(|label| format!("{label}=%q"));
        let all: Vec<_> = [job].into_iter().chain(matchers).chain(of_alert).collect();
        let values: String = of.iter().map(|label| format!(" $labels.{label}")).collect();
        (format!("{before}{name}{{{}}}{after}", all.join(",")), values)
    }
}

/// The labels of a grouping: job and instance, then these.
pub(super) fn labels(by: &str) -> String {
    if by.is_empty() { "job, instance".to_owned() } else { format!("job, instance, {by}") }
}

/// A matcher of a bucket's bound. OpenMetrics and Prometheus 3 write `30.0`, the text format 0.0.4 on
/// Prometheus 2 may write `30`.
pub(crate) fn bound(threshold: Duration) -> String {
    let seconds = threshold.as_secs_f64();
    let digits = format!("{seconds}");
    match digits.split_once('.') {
        Some((whole, part)) => format!("le=~\"{whole}\\\\.{part}\""),
        None => format!("le=~\"{digits}(\\\\.0)?\""),
    }
}

/// A matcher of stages.
pub(super) fn stages(names: &[&str]) -> String {
    match names {
        [one] => format!("stage=\"{one}\""),
        several => format!("stage=~\"{}\"", several.join("|")),
    }
}
