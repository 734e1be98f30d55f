//! Remarks on an interval below a second, which is allowed but is usually a mistake in its unit: a pipeline carries and
//! bills every canary.

use std::time::Duration;

use super::settings::Tenant;

const SECOND: Duration = Duration::from_secs(1);
const SECONDS_OF_A_DAY: f64 = 86_400.0;
/// An interval in seconds that somebody may have meant.
const MEANT: u128 = 300;

/// A remark on `probe.interval` if a tenant uses it, and on each tenant that has an interval of its own.
pub(super) fn notes(probe: Duration, tenants: &[Tenant]) -> Vec<String> {
    let of_probe = tenants.iter().any(|tenant| tenant.interval == probe).then_some(probe);
    let of_probe =
        of_probe.and_then(rate).map(|rate| format!("probe.interval: {}", rate.text(" for each tenant")));
    let own = tenants.iter().filter(|tenant| tenant.interval != probe);
    let of_tenants = own.filter_map(|tenant| {
        Some(format!("tenant.{}.interval: {}", tenant.name, rate(tenant.interval)?.text("")))
    });
    of_probe.into_iter().chain(of_tenants).collect()
}

/// How many canaries an interval below a second makes.
struct Rate {
    interval: Duration,
    of_a_second: f64,
}

fn rate(interval: Duration) -> Option<Rate> {
    (interval < SECOND).then(|| Rate { interval, of_a_second: 1.0 / interval.as_secs_f64() })
}

impl Rate {
    fn text(&self, of_whom: &str) -> String {
        let a_second = self.of_a_second.round();
        let canaries = if a_second > 1.0 { "canaries" } else { "canary" };
        let a_day = in_thousands(two_digits(self.of_a_second * SECONDS_OF_A_DAY));
        format!("{a_second} {canaries} a second{of_whom}, {a_day} a day{}", self.meant())
    }

    /// The same number with the usual unit.
    fn meant(&self) -> String {
        let millis = self.interval.as_millis();
        let is_whole = self.interval.subsec_micros().is_multiple_of(1_000);
        if is_whole && millis <= MEANT { format!(": did you mean \"{millis}s\"?") } else { String::new() }
    }
}

/// Rounds a number of at least 10 to its first two digits.
fn two_digits(number: f64) -> u64 {
    let unit = 10_f64.powi(number.log10().floor() as i32 - 1);
    ((number / unit).round() * unit).round() as u64
}

/// `2,900,000`.
fn in_thousands(number: u64) -> String {
    let digits = number.to_string();
    let grouped = digits.char_indices().map(|(at, digit)| {
        let begins = at > 0 && (digits.len() - at).is_multiple_of(3);
        if begins { format!(",{digit}") } else { digit.to_string() }
    });
    grouped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn of(probe: &str, acme: &str) -> Vec<String> {
        let text = format!(
            "[probe]\ninterval = \"{probe}\"\n[aws]\nregion = \"eu-central-1\"\n[[tenant]]\nname = \"acme\"\n\
             log_group = \"/acme\"\n{acme}\n[[tenant]]\nname = \"globex\"\nlog_group = \"/globex\"\n[[stage]]\n\
             name = \"stream\"\nkind = \"kinesis\"\nstream = \"logs-{{tenant}}\"\nend = true\n"
        );
        let key = ("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned());
        Config::parse(&text, [key]).unwrap_or_else(|faults| panic!("{faults}")).notes
    }

    #[test]
    fn an_interval_in_milliseconds_is_noted_with_what_it_makes_of_a_day() {
        assert_eq!(
            of("30ms", ""),
            ["probe.interval: 33 canaries a second for each tenant, 2,900,000 a day: did you mean \"30s\"?"]
        );
        assert_eq!(
            of("30s", "interval = \"400ms\""),
            ["tenant.acme.interval: 3 canaries a second, 220,000 a day"]
        );
        assert_eq!(of("1s", "interval = \"2s\""), [""; 0]);
    }

    #[test]
    fn numbers_of_a_day_have_two_digits_and_commas() {
        let of_day = |number: f64| in_thousands(two_digits(number));
        assert_eq!(
            [of_day(86_486.0), of_day(2_880_000.0), of_day(86_400_000.0)],
            ["86,000", "2,900,000", "86,000,000"]
        );
    }
}
