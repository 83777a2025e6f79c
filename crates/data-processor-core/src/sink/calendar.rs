//! Days and their names.

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// The UTC day of an instant, days since 1970; negative before.
pub fn day_of(instant_us: i64) -> i32 {
    instant_us.div_euclid(DAY_US) as i32 // |i64::MIN / DAY_US| < 2^27
}

/// `YYYY-MM-DD` of a day in the proleptic Gregorian calendar.
///
/// Source: Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
pub fn day_name(day: i32) -> String {
    let shifted = i64::from(day) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_around_the_epoch_and_leap_years_have_their_names() {
        for (day, name) in
            [(0, "1970-01-01"), (-1, "1969-12-31"), (11_016, "2000-02-29"), (18_993, "2022-01-01"), (-719_528, "0000-01-01")]
        {
            assert_eq!(day_name(day), name);
        }
        assert_eq!(day_of(-1), -1);
        assert_eq!(day_of(DAY_US - 1), 0);
        assert_eq!(day_of(DAY_US), 1);
    }
}
