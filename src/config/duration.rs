//! Durations as people write them: `2s`, `500ms`, `1h 30m`, and ISO 8601 `PT2S`, `P2DT3H4M`.
//! Bare numbers but 0, months and years are refused: different people read them differently.

use humantime_serde::re::humantime;
use std::time::Duration;

/// The longest duration that any setting may have: a hundred years. It keeps sums of points in
/// time and durations far from overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The longest text that is read as a duration, in bytes.
const TEXT_MAX: usize = 64;

/// Reads a duration.
///
/// # Errors
///
/// What is wrong with the text, without the text itself.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("an empty duration".to_owned());
    }
    if text.len() > TEXT_MAX {
        return Err(format!("a duration of more than {TEXT_MAX} characters"));
    }
    if text.starts_with('-') || text.starts_with('\u{2212}') {
        return Err("a negative duration".to_owned());
    }
    if text == "0" {
        return Ok(Duration::ZERO); // The same in every unit.
    }
    if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Err("a bare number, which says no unit".to_owned());
    }
    let duration = if text.starts_with(['P', 'p']) {
        parse_iso(text)?
    } else {
        parse_units(text)?
    };
    if duration > DURATION_MAX {
        return Err("a duration of more than a hundred years".to_owned());
    }
    Ok(duration)
}

/// How a setting's duration is shown; [`parse`] reads it back.
pub fn show(duration: Duration) -> String {
    const UNITS: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut left = duration.as_nanos();
    let mut parts = Vec::new();
    for (unit, length) in UNITS {
        if left >= length {
            parts.push(format!("{}{unit}", left / length));
            left %= length;
        }
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

fn parse_iso(text: &str) -> Result<Duration, String> {
    // Operators write days behind the T, where the standard has no place for them.
    let days = |text: &str| {
        let upper = text.to_ascii_uppercase();
        let number = upper.strip_prefix("PT")?.strip_suffix('D')?.to_owned();
        number
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| format!("P{number}D"))
    };
    let text = days(text).unwrap_or_else(|| text.to_owned());
    let span: jiff::Span = text
        .parse()
        .map_err(|_| "not an ISO 8601 duration such as PT2S or P2DT3H4M".to_owned())?;
    if span.is_negative() {
        return Err("a negative duration".to_owned());
    }
    if span.get_months() != 0 || span.get_years() != 0 {
        return Err("a duration in months or years, whose length varies".to_owned());
    }
    let overflow = |_| "a duration of more than a hundred years".to_owned();
    let signed = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(overflow)?;
    Duration::try_from(signed).map_err(|_| "a negative duration".to_owned())
}

fn parse_units(text: &str) -> Result<Duration, String> {
    // One pass over the units: humantime knows months and years, which are refused here.
    let units = text
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|unit| !unit.is_empty());
    for unit in units {
        if unit == "M"
            || unit == "y"
            || unit == "Y"
            || is_long(unit, "month")
            || is_long(unit, "year")
        {
            return Err("a duration in months or years, whose length varies".to_owned());
        }
    }
    humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => {
            "a duration of more than a hundred years".to_owned()
        }
        _ => "not a duration such as 2s, 500ms or 1h30m".to_owned(),
    })
}

fn is_long(unit: &str, name: &str) -> bool {
    unit.len() >= 2 && unit.len() <= name.len() + 1 && {
        let unit = unit.to_ascii_lowercase();
        let unit = unit.strip_suffix('s').unwrap_or(&unit);
        unit == name || (name == "year" && unit == "yr") || (name == "month" && unit == "mo")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for (text, milliseconds) in [
            ("2s", 2_000),
            ("500ms", 500),
            (" 1h 30m ", 5_400_000),
            ("1day", 86_400_000),
            ("0s", 0),
            ("0", 0),
            ("PT2S", 2_000),
            ("pt2s", 2_000),
            ("PT0.5S", 500),
            ("PT15M", 900_000),
            ("P2DT3H4M", 2 * 86_400_000 + 3 * 3_600_000 + 4 * 60_000),
            ("P1W", 7 * 86_400_000),
            ("PT6D", 6 * 86_400_000),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for milliseconds in [0, 1, 999, 1_500, 86_400_000, 5_400_000] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (text, word) in [
            ("", "empty"),
            ("   ", "empty"),
            ("2", "bare number"),
            ("2.5", "bare number"),
            ("-1s", "negative"),
            ("-PT1S", "negative"),
            ("PT-1S", "ISO 8601"),
            ("PT", "ISO 8601"),
            ("P", "ISO 8601"),
            ("P1M", "months"),
            ("P1Y", "months"),
            ("1M", "months"),
            ("1 month", "months"),
            ("2months", "months"),
            ("3y", "months"),
            ("3 years", "months"),
            ("200y", "months"),
            ("40000days", "hundred years"),
            ("P40000D", "hundred years"),
            ("99999999999999999999s", "hundred years"),
            ("99999999999999w", ""),
            ("PT99999999999999999999S", ""),
            ("2 parsecs", "not a duration"),
            ("s", "not a duration"),
            ("2s2", "not a duration"),
        ] {
            let refusal = parse(text).expect_err(text);
            assert!(refusal.contains(word), "{text}: {refusal}");
        }
    }
}
