//! A parsed scrape of `/metrics`.

pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    pub fn parse(text: &str) -> Metrics {
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Metrics(samples.map(sample).collect())
    }

    /// The values of all series of this name that have these labels. Without any the test fails, because
    /// every series is initialised to 0.
    pub fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let values = self.values_so_far(name, labels);
        assert!(!values.is_empty(), "the scrape has no {name} with {labels:?}");
        values
    }

    fn values_so_far(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let has = |series: &str| {
            let rest = series.strip_prefix(name);
            let is_named_so = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
            is_named_so && labels.iter().all(|label| series.contains(label))
        };
        self.0.iter().filter(|(series, _)| has(series)).map(|(_, value)| *value).collect()
    }

    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.values(name, labels).iter().sum()
    }

    /// The same of series that appear with their first count.
    pub fn sum_so_far(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.values_so_far(name, labels).iter().sum()
    }
}

fn sample(line: &str) -> (String, f64) {
    // An exemplar of OpenMetrics follows the value after " # ".
    let line = line.split(" # ").next().unwrap_or(line);
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    (series.to_owned(), value.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
}
