//! Series in the notation of promtool's tests.

/// The values at each step, as promtool reads them: `0+1x5` for six values that grow by 1. A value that is not
/// finite is stale.
pub fn notation(values: &[f64]) -> String {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < values.len() {
        if !values[at].is_finite() {
            parts.push("stale".to_owned());
            at += 1;
            // A stale marker ends the series; what is missing after it is written as such.
            let missing = values[at..].iter().take_while(|value| !value.is_finite()).count();
            if missing > 0 {
                parts.push(format!("_x{missing}"));
            }
            at += missing;
            continue;
        }
        let next = values.get(at + 1).filter(|next| next.is_finite());
        let delta = next.map_or(0.0, |next| next - values[at]);
        let mut run = 1;
        while at + run < values.len()
            && values[at + run].is_finite()
            && values[at + run] - values[at + run - 1] == delta
        {
            run += 1;
        }
        let sign = if delta < 0.0 { "" } else { "+" };
        parts.push(format!("{}{sign}{delta}x{}", values[at], run - 1));
        at += run;
    }
    parts.join(" ")
}

#[test]
fn values_become_runs() {
    assert_eq!(notation(&[0.0, 1.0, 2.0, 2.0, 2.0, 0.0]), "0+1x2 2+0x1 0+0x0");
    assert_eq!(notation(&[1.0, f64::NAN, f64::NAN, 1.0]), "1+0x0 stale _x1 1+0x0");
}
