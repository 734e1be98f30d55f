//! Content negotiation by the headers `Accept` and `Accept-Encoding` (RFC 9110, section 12.5).

/// Returns the best of `offers` (media types, the server's default first) for an `Accept` header.
///
/// A client that accepts none of them gets the default: a page is more useful than a 406.
#[must_use]
pub(crate) fn best<'a>(accept: Option<&str>, offers: &[&'a str]) -> &'a str {
    let default = offers.first().copied().unwrap_or_default();
    let Some(accept) = accept else {
        return default;
    };
    let mut best = (0, default);
    for offer in offers {
        let weight = weight(accept, offer);
        if weight > best.0 {
            best = (weight, offer);
        }
    }
    best.1
}

/// The weight of a media type for a client, from 0 to 1000. The most specific matching range decides.
fn weight(accept: &str, offer: &str) -> u32 {
    let kind = offer.split('/').next().unwrap_or_default();
    accept
        .split(',')
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next()?.to_ascii_lowercase();
            let precision = match name.as_str() {
                "*/*" => 0,
                name if name == offer => 2,
                name if name.strip_suffix("/*") == Some(kind) => 1,
                _ => return None,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, per_mille);
            Some((precision, quality))
        })
        .max()
        .map_or(0, |(_, quality)| quality)
}

/// The weight of a content coding for a client, from 0 to 1000, by its `Accept-Encoding` header.
#[must_use]
pub(crate) fn coding(accept: &str, offer: &str) -> u32 {
    let named = accept.split(',').filter_map(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next()?.to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, per_mille);
        // A name takes precedence over the asterisk, which stands for all that are not named.
        (name == offer || name == "*").then_some((name == offer, quality))
    });
    named.max().map_or(0, |(_, quality)| quality)
}

fn per_mille(quality: &str) -> u32 {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let thousandths = format!("{fraction:0<3}");
    match (whole, thousandths.get(..3).and_then(|digits| digits.parse().ok())) {
        ("0", Some(thousandths)) => thousandths,
        ("0", None) => 0,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: [&str; 2] = ["text/html", "application/json"];
    const SCRAPE: [&str; 2] = ["text/plain", "application/openmetrics-text"];

    #[test]
    fn a_browser_gets_the_page_and_a_program_gets_json_on_request() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(best(Some(browser), &PAGE), "text/html");
        assert_eq!(best(Some("application/json"), &PAGE), "application/json");
        assert_eq!(best(Some("*/*"), &PAGE), "text/html");
        assert_eq!(best(Some("text/html;q=0.4, application/json;q=0.5"), &PAGE), "application/json");
        assert_eq!(best(None, &PAGE), "text/html");
        assert_eq!(best(Some("image/png"), &PAGE), "text/html");
    }

    #[test]
    fn prometheus_gets_the_format_it_prefers() {
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(best(Some(new), &SCRAPE), "application/openmetrics-text");
        let old = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;q=0.3";
        assert_eq!(best(Some(old), &SCRAPE), "text/plain");
        assert_eq!(best(Some("application/openmetrics-text;q=0"), &SCRAPE), "text/plain");
    }

    #[test]
    fn a_malformed_header_is_harmless() {
        for header in ["", ",,;;", "*/*;q=é", "text/html;q=0.9999999999999"] {
            let _ = best(Some(header), &PAGE);
        }
    }
}
