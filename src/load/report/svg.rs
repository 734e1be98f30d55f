//! Charts over time as SVG, drawn by hand: the report must need nothing from anywhere.

use std::fmt::Write as _;

use super::junit::escaped;
use crate::load::estimate::short;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
/// Distinguishable also by people who see colours differently (Okabe and Ito, Color universal design, 2008),
/// and by dashes without any.
const LINES: [(&str, &str); 7] = [
    ("#0072b2", ""),
    ("#d55e00", "7 3"),
    ("#009e73", "2 2"),
    ("#cc79a7", "9 3 2 3"),
    ("#e69f00", "4 2"),
    ("#56b4e9", "12 4"),
    ("#555555", "1 3"),
];

/// A line of a chart.
pub(super) struct Line {
    pub(super) name: String,
    /// Seconds since the first event, and the value; `None` interrupts the line.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A chart of lines over time. Empty if no line has a value.
pub(super) fn chart(title: &str, unit: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let end = points().map(|(at, _)| *at).fold(0.0, f64::max);
    let most = points().filter_map(|(_, value)| *value).fold(0.0, f64::max);
    if points().all(|(_, value)| value.is_none()) {
        return String::new();
    }
    let (end, top) = (end.max(1.0), nice(most));
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let title = escaped(title);
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        svg,
        "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let (at, label) = (y(value), format!("{} {unit}", short(value)));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    for step in 0..=6 {
        let at = end * f64::from(step) / 6.0;
        let (place, label) = (x(at), time(at));
        let _ = write!(
            svg,
            "<text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - 8.0
        );
    }
    for (line, (colour, dashes)) in lines.iter().zip(LINES.iter().cycle()) {
        let mut path = String::new();
        let mut is_down = false;
        for (at, value) in &line.points {
            if let Some(value) = value {
                let verb = if is_down { 'L' } else { 'M' };
                let _ = write!(path, "{verb}{:.1} {:.1}", x(*at), y(*value));
                // A point between two gaps is a line of no length, which round ends make visible.
                if !is_down {
                    let _ = write!(path, "h0");
                }
            }
            is_down = value.is_some();
        }
        let _ = write!(svg, "<path d=\"{path}\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"/>");
    }
    svg.push_str("</svg><ul class=\"legend\">");
    for (line, (colour, dashes)) in lines.iter().zip(LINES.iter().cycle()) {
        let name = escaped(&line.name);
        let _ = write!(
            svg,
            "<li><svg viewBox=\"0 0 30 8\"><path d=\"M1 4h28\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"/></svg>{name}</li>"
        );
    }
    svg.push_str("</ul></figure>\n");
    svg
}

/// The next number of the form 1, 2, 4 or 8 times a power of ten, so that quarters of it are short.
fn nice(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|top| *top >= most)
        .unwrap_or(10.0 * power)
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 12.0 => format!("{} s", short(seconds)),
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.1} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, Option<f64>)]) -> Line {
        Line { name: "a <b>".to_owned(), points: points.to_vec() }
    }

    #[test]
    fn a_gap_interrupts_the_line() {
        let svg =
            chart("x", "s", &[line(&[(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(1.0))])]);
        let path = svg.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
    }

    #[test]
    fn names_cannot_add_markup() {
        let svg = chart("<script>", "s", &[line(&[(0.0, Some(1.0))])]);
        assert!(svg.contains("a &lt;b&gt;") && !svg.contains("<script>"), "{svg}");
    }

    #[test]
    fn without_values_there_is_no_chart() {
        assert_eq!(chart("x", "s", &[line(&[(0.0, None)])]), "");
    }

    #[test]
    fn an_axis_ends_at_a_short_number_above_the_largest_value() {
        assert_eq!([0.0, 0.3, 1.0, 1.1, 37.0, 85.0].map(nice), [1.0, 0.4, 1.0, 2.0, 40.0, 100.0]);
    }
}
