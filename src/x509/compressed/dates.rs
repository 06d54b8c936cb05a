//! The dates of a compressed certificate: whole hours, whole years.

use super::CompressError;
use crate::types::{NO_EXPIRATION, Validity};
use der::DateTime;
use std::time::Duration;

/// Last issue year of format 0 (five bits since 2000).
const FORMAT_0_LAST_YEAR: u16 = 2031;
/// Most years of format 0 (five bits).
const FORMAT_0_MOST_YEARS: u16 = 31;
/// Last issue year of format 1 (seven bits since 2000).
const FORMAT_1_LAST_YEAR: u16 = 2127;
/// Most years of format 1 (seven bits).
const FORMAT_1_MOST_YEARS: u16 = 127;

/// A validity period in the form that fits into octets 64 to 66 and 71 of a compressed certificate.
///
/// Issue year (5 bits since 2000), month (4), day (5), hour (5), years to expiry (5, 0 = none); format 1 puts two
/// more bits of each year field into octet 71, and reaches to 2127.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dates {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    years: u16,
}

impl Dates {
    /// Takes a validity that the format can express; the error names the limit and what to change in the profile.
    pub fn from_validity(validity: &Validity) -> Result<Self, CompressError> {
        let start = civil(validity.not_before())?;
        if start.minutes() != 0 || start.seconds() != 0 {
            return Err(CompressError::Date(format!("notBefore {start} is not a whole hour; let the profile round it down to the hour")));
        }
        if !(2000..=FORMAT_1_LAST_YEAR).contains(&start.year()) {
            return Err(CompressError::Date(format!("notBefore {start} lies outside 2000 to {FORMAT_1_LAST_YEAR}")));
        }
        let years = if validity.not_after() == NO_EXPIRATION { 0 } else { whole_years(&start, validity.not_after())? };
        Ok(Self { year: start.year(), month: start.month(), day: start.day(), hour: start.hour(), years })
    }

    /// The period of `years` (1 to 127) that starts with the hour of `now`; `None` for no expiration.
    /// A start on 29 February moves to the 28th when the year of expiry has no such day.
    pub fn starting(now: i64, years: Option<u8>) -> Result<Validity, CompressError> {
        let date = |e| CompressError::Date(format!("{e}"));
        let start = now - now.rem_euclid(3600);
        let Some(years) = years else { return Validity::new(start, NO_EXPIRATION).map_err(date) };
        if years == 0 || u16::from(years) > FORMAT_1_MOST_YEARS {
            return Err(CompressError::Date(format!("{years} years; 1 to {FORMAT_1_MOST_YEARS} can be expressed")));
        }
        let from = civil(start)?;
        let end = |d: &DateTime| DateTime::new(d.year() + u16::from(years), d.month(), d.day(), d.hour(), 0, 0);
        let (start, end) = match end(&from) {
            Ok(end) => (start, end),
            Err(_) => (start - 86_400, end(&civil(start - 86_400)?).map_err(|e| CompressError::Date(e.to_string()))?),
        };
        Validity::new(start, unix(&end)).map_err(date)
    }

    /// Reads octets 64 to 66, format version (octet 70, low nibble) and octet 71. Formats 0 and 1 are known.
    pub fn decode(packed: [u8; 3], format: u8, extension: u8) -> Result<Self, CompressError> {
        let bits = u32::from_be_bytes([0, packed[0], packed[1], packed[2]]);
        let field = |shift: u32, width: u32| u8::try_from(bits >> shift & ((1 << width) - 1)).unwrap_or(0);
        let high = |shift: u8| if format == 0 { 0 } else { u16::from(extension >> shift & 3) << 5 };
        if format > 1 {
            return Err(CompressError::Structure("format version is neither 0 nor 1"));
        }
        Ok(Self {
            year: 2000 + high(6) + u16::from(field(19, 5)),
            month: field(15, 4),
            day: field(10, 5),
            hour: field(5, 5),
            years: high(4) + u16::from(field(0, 5)),
        })
    }

    /// Whole years to expiry; 0 for no expiration.
    pub fn years(&self) -> u8 {
        u8::try_from(self.years).unwrap_or(0)
    }

    /// Format version: 0 where it suffices, else 1.
    pub fn format(&self) -> u8 {
        u8::from(self.year > FORMAT_0_LAST_YEAR || self.years > FORMAT_0_MOST_YEARS)
    }

    /// Octets 64 to 66.
    pub fn packed(&self) -> [u8; 3] {
        let [year, years] = [u32::from(self.year - 2000) & 0x1f, u32::from(self.years) & 0x1f];
        let bits = year << 19 | u32::from(self.month) << 15 | u32::from(self.day) << 10 | u32::from(self.hour) << 5 | years;
        let [_, a, b, c] = bits.to_be_bytes();
        [a, b, c]
    }

    /// Octet 71: bits 7 and 6 continue the year, bits 5 and 4 the years to expiry.
    pub fn extension(&self) -> u8 {
        let [year, years] = [(self.year - 2000) >> 5 & 3, self.years >> 5 & 3];
        u8::try_from(year << 6 | years << 4).unwrap_or(0)
    }

    /// The validity that the octets stand for.
    pub fn validity(&self) -> Result<Validity, CompressError> {
        let date = |year| DateTime::new(year, self.month, self.day, self.hour, 0, 0).map_err(|e| CompressError::Date(e.to_string()));
        let end = if self.years == 0 { NO_EXPIRATION } else { unix(&date(self.year + self.years)?) };
        Validity::new(unix(&date(self.year)?), end).map_err(|e| CompressError::Date(e.to_string()))
    }
}

fn whole_years(start: &DateTime, not_after: i64) -> Result<u16, CompressError> {
    let end = civil(not_after)?;
    let years = end.year().saturating_sub(start.year());
    let same = |d: &DateTime| (d.month(), d.day(), d.hour(), d.minutes(), d.seconds());
    if same(start) != same(&end) || years == 0 {
        let reason = format!("from {start} to {end} is not a whole number of years; let the profile set whole years or no expiration");
        return Err(CompressError::Date(reason));
    }
    if years > FORMAT_1_MOST_YEARS {
        return Err(CompressError::Date(format!("{years} years exceed {FORMAT_1_MOST_YEARS}; shorten the validity or use no expiration")));
    }
    Ok(years)
}

fn civil(unix: i64) -> Result<DateTime, CompressError> {
    let seconds = u64::try_from(unix).map_err(|_| CompressError::Date("time before 1970".into()))?;
    DateTime::from_unix_duration(Duration::from_secs(seconds)).map_err(|e| CompressError::Date(e.to_string()))
}

fn unix(date: &DateTime) -> i64 {
    i64::try_from(date.unix_duration().as_secs()).unwrap_or(NO_EXPIRATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_can_be_expressed_comes_back(now in 946_684_800i64..4_985_000_000, years in prop::option::of(1u8..=127)) {
            let validity = Dates::starting(now, years).unwrap();
            let dates = Dates::from_validity(&validity).unwrap();
            let read = Dates::decode(dates.packed(), dates.format(), dates.extension()).unwrap();
            prop_assert_eq!(read, dates);
            prop_assert_eq!(read.validity().unwrap(), validity);
        }

        #[test]
        fn any_octets_are_read_without_panic(packed in any::<[u8; 3]>(), format in any::<u8>(), extension in any::<u8>()) {
            if let Ok(dates) = Dates::decode(packed, format, extension) {
                let _ = dates.validity();
            }
        }
    }

    #[test]
    fn limits_are_refused_with_their_reason() {
        let hour = 1_800_000_000;
        for (from, to, reason) in [
            (hour + 1, hour + 86_400, "whole hour"),
            (hour, hour + 86_400 * 400, "whole number of years"),
            (hour, hour + 3600, "whole number of years"),
            (0, NO_EXPIRATION, "outside 2000"),
        ] {
            let error = Dates::from_validity(&Validity::new(from, to).unwrap()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
