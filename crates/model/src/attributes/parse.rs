//! From what somebody gives to a value within its attribute's range.

use std::fmt;

use auth::Secret;
use iscsi_wire::PortalAddress;

use super::{Attribute, Kind};
use crate::error::ConfigCode;
use crate::value::{Raw, Value};

/// Why a value cannot be an attribute's. Never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    pub code: ConfigCode,
    pub reason: String,
    /// The legal values.
    pub hint: String,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.hint)
    }
}

impl std::error::Error for ValueError {}

impl Attribute {
    /// Reads a value.
    ///
    /// # Errors
    /// It is of another type, or out of range; the hint names the legal values.
    pub fn parse(&self, raw: &Raw) -> Result<Value, ValueError> {
        match self.kind {
            Kind::Bool => parse_bool(raw).map(Value::Bool),
            Kind::Integer { min, max } => parse_integer(raw)
                .map(|number| self.in_range(number, min, max))
                .transpose()?,
            Kind::Size { min, max } => match raw {
                Raw::Integer(bytes) => Some(self.in_range(*bytes, min, max)?),
                Raw::Text(text) => parse_size(text)
                    .map(|bytes| self.in_range(bytes, min, max))
                    .transpose()?,
                _ => None,
            },
            Kind::Text { max_bytes } => match raw {
                Raw::Text(text) => Some(self.bounded(text, max_bytes)?),
                Raw::Integer(number) => Some(self.bounded(&number.to_string(), max_bytes)?),
                _ => None,
            },
            Kind::Address { default_port } => match raw {
                Raw::Text(text) => PortalAddress::parse_with_default(text, default_port)
                    .ok()
                    .map(|address| Value::text(&address.to_string())),
                _ => None,
            },
            Kind::Choice(choices) => match raw {
                Raw::Text(text) => {
                    let same = |one: &&&str| one.eq_ignore_ascii_case(text);
                    choices.iter().find(same).map(|one| Value::text(one))
                }
                _ => None,
            },
            Kind::Secret { max_bytes } => self.secret(raw, max_bytes)?,
        }
        .ok_or_else(|| self.wrong(ConfigCode::BadValue, raw))
    }

    /// The legal values, for people.
    #[must_use]
    pub fn legal(&self) -> String {
        match self.kind {
            Kind::Bool => "true or false".to_owned(),
            Kind::Integer { min, max } => format!("a number from {min} to {max}"),
            Kind::Size { min, max } => {
                format!("a size from {min} to {max} bytes, such as 4096, 512MiB or 10GiB")
            }
            Kind::Text { max_bytes } => format!("text of at most {max_bytes} bytes"),
            Kind::Address { .. } => {
                "a host and port, such as 192.0.2.1:3260, [2001:db8::1]:3260 or san.example.org:3260"
                    .to_owned()
            }
            Kind::Choice(choices) => choices.join(" or "),
            Kind::Secret { max_bytes } => format!("1 to {max_bytes} bytes"),
        }
    }

    fn in_range(&self, number: i64, min: i64, max: i64) -> Result<Value, ValueError> {
        if (min..=max).contains(&number) {
            Ok(Value::Integer(number))
        } else {
            Err(self.wrong(ConfigCode::OutOfRange, &Raw::Integer(number)))
        }
    }

    fn bounded(&self, text: &str, max_bytes: usize) -> Result<Value, ValueError> {
        if text.len() <= max_bytes && !text.chars().any(char::is_control) {
            Ok(Value::text(text))
        } else {
            Err(ValueError {
                code: ConfigCode::OutOfRange,
                reason: format!("{}: too long, or with control characters", self.name),
                hint: format!("use {}", self.legal()),
            })
        }
    }

    fn secret(&self, raw: &Raw, max_bytes: usize) -> Result<Option<Value>, ValueError> {
        let secret = match raw {
            Raw::Secret(secret) => secret.clone(),
            Raw::Text(text) => Secret::new(text.clone().into_bytes()),
            Raw::Integer(number) => Secret::new(number.to_string().into_bytes()),
            Raw::Bool(_) | Raw::Kept => return Ok(None),
        };
        if (1..=max_bytes).contains(&secret.expose().len()) {
            Ok(Some(Value::Secret(secret)))
        } else {
            Err(ValueError {
                code: ConfigCode::OutOfRange,
                reason: format!("{}: empty or too long", self.name),
                hint: format!("use {}", self.legal()),
            })
        }
    }

    fn wrong(&self, code: ConfigCode, raw: &Raw) -> ValueError {
        let given = match raw {
            _ if self.is_secret() => "the value".to_owned(),
            Raw::Bool(yes) => yes.to_string(),
            Raw::Integer(number) => number.to_string(),
            Raw::Text(text) => format!("{:?}", text.chars().take(64).collect::<String>()),
            Raw::Secret(_) | Raw::Kept => "the value".to_owned(),
        };
        ValueError {
            code,
            reason: format!("{}: {given} cannot be its value", self.name),
            hint: format!("use {}", self.legal()),
        }
    }
}

fn parse_bool(raw: &Raw) -> Option<bool> {
    match raw {
        Raw::Bool(yes) => Some(*yes),
        Raw::Integer(0) => Some(false),
        Raw::Integer(1) => Some(true),
        Raw::Text(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "y" | "on" => Some(true),
            "0" | "false" | "no" | "n" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn parse_integer(raw: &Raw) -> Option<i64> {
    match raw {
        Raw::Integer(number) => Some(*number),
        Raw::Bool(yes) => Some(i64::from(*yes)),
        Raw::Text(text) => {
            let text = text.trim();
            match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(hex) => i64::from_str_radix(hex, 16).ok(),
                None => text.parse().ok(),
            }
        }
        Raw::Secret(_) | Raw::Kept => None,
    }
}

/// A size in bytes: a number, with a suffix or without. Suffixes are of 1024, as targetcli has them: K, KB, KiB to P.
#[must_use]
pub fn parse_size(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: i64 = number.parse().ok()?;
    let suffix = suffix.trim().to_ascii_lowercase();
    let unit = suffix
        .strip_suffix("ib")
        .or_else(|| suffix.strip_suffix('b'));
    let power = match unit.unwrap_or(&suffix) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    number.checked_mul(1024_i64.checked_pow(power)?)
}

#[cfg(test)]
mod tests {
    use super::super::{Default, ObjectKind, Takes, row};
    use super::*;

    fn attribute(kind: Kind) -> Attribute {
        row("x", kind, Default::Unset, Takes::Live, "help", "test")
    }

    #[test]
    fn parse_each_kind_takes_what_people_write_and_refuses_the_rest() {
        let integer = Kind::Integer { min: -1, max: 100 };
        let size = Kind::Size {
            min: 512,
            max: i64::MAX,
        };
        let text = Kind::Text { max_bytes: 3 };
        let choice = Kind::Choice(&["chap", "none"]);
        let address = Kind::Address { default_port: 3260 };
        let kept = |text| Some(Value::text(text));
        for (kind, raw, value) in [
            (Kind::Bool, Raw::from("Yes"), Some(Value::Bool(true))),
            (Kind::Bool, Raw::from(0), Some(Value::Bool(false))),
            (Kind::Bool, Raw::from(2), None),
            (Kind::Bool, Raw::from("ja"), None),
            (integer, Raw::from("-1"), Some(Value::Integer(-1))),
            (integer, Raw::from("0x10"), Some(Value::Integer(16))),
            (integer, Raw::from(101), None),
            (integer, Raw::from(""), None),
            (size, Raw::from("10GiB"), Some(Value::Integer(10 << 30))),
            (size, Raw::from("1g"), Some(Value::Integer(1 << 30))),
            (size, Raw::from("4KB"), Some(Value::Integer(4096))),
            (size, Raw::from("511"), None),
            (size, Raw::from("9999999999999P"), None),
            (size, Raw::from("1 florin"), None),
            (text, Raw::from("abc"), Some(Value::text("abc"))),
            (text, Raw::from("abcd"), None),
            (text, Raw::from("a\nb"), None),
            (choice, Raw::from("CHAP"), Some(Value::text("chap"))),
            (choice, Raw::from("krb5"), None),
            (address, Raw::from("192.0.2.1"), kept("192.0.2.1:3260")),
            (
                address,
                Raw::from("[2001:DB8::1]:1"),
                kept("[2001:db8::1]:1"),
            ),
            (
                address,
                Raw::from("SAN.example.org:3261"),
                kept("san.example.org:3261"),
            ),
            (address, Raw::from("2001:db8::1"), None),
            (address, Raw::from("192.0.2.1:3260,1"), None),
            (address, Raw::from("san.example.org:0"), None),
            (address, Raw::from(""), None),
            (address, Raw::from(3260), None),
        ] {
            assert_eq!(attribute(kind).parse(&raw).ok(), value, "{kind:?} {raw:?}");
        }
    }

    #[test]
    fn parse_refused_secret_is_in_no_error() {
        let row = ObjectKind::Acl.attribute("chap.secret").expect("a row");
        let long = "hunter2".repeat(100);
        let error = row.parse(&Raw::from(long.as_str())).expect_err("too long");
        assert!(!format!("{error:?}{error}{:?}", Raw::from(long.as_str())).contains("hunter2"));
    }
}
