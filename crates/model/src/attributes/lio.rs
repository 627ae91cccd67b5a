//! How LIO spells attributes and their values: for saveconfig.json, targetcli's commands and the configfs face.

use super::{Attribute, Kind, ObjectKind};
use crate::value::{Raw, Value};

/// rtslib's names of what proves who somebody is, and the attributes that they are.
pub const LIO_CREDENTIALS: [(&str, &str); 4] = [
    ("userid", "chap.user"),
    ("password", "chap.secret"),
    ("mutual_userid", "mutual_chap.user"),
    ("mutual_password", "mutual_chap.secret"),
];

impl Attribute {
    /// LIO's file for it, below the object's directory; `None`: LIO has none.
    #[must_use]
    pub fn lio_path(&self) -> Option<String> {
        match (self.lio_file, self.name.split_once('.')) {
            (Some(file), _) => Some(file.to_owned()),
            (None, Some((group @ ("attrib" | "param"), name))) => Some(format!("{group}/{name}")),
            _ => None,
        }
    }

    /// A value as LIO's file shows it. A secret that is no text is shown as far as it is.
    #[must_use]
    pub fn to_lio(&self, value: &Value) -> String {
        match value {
            Value::Bool(yes) => u8::from(*yes).to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Text(text) if self.is_proof() => u8::from(&**text == "chap").to_string(),
            Value::Text(text) => text.as_ref().to_owned(),
            Value::Secret(secret) => String::from_utf8_lossy(secret.expose()).into_owned(),
        }
    }

    /// What somebody who writes to LIO's file means. Whether it is legal [`Attribute::parse`] says.
    #[must_use]
    pub fn from_lio(&self, raw: Raw) -> Raw {
        match &raw {
            // A list, as of digests, may have blanks.
            Raw::Text(text) if matches!(self.kind, Kind::Choice(_)) && text.contains(' ') => {
                Raw::Text(text.replace(' ', ""))
            }
            _ if !self.is_proof() => raw,
            Raw::Integer(0) | Raw::Bool(false) => Raw::from("none"),
            Raw::Integer(1) | Raw::Bool(true) => Raw::from("chap"),
            Raw::Text(text) if text == "0" => Raw::from("none"),
            Raw::Text(text) if text == "1" => Raw::from("chap"),
            _ => raw,
        }
    }

    /// A choice of ours that is a yes or no of LIO's.
    fn is_proof(&self) -> bool {
        self.name == "authentication" && matches!(self.kind, Kind::Choice(_))
    }
}

impl ObjectKind {
    /// The row that LIO's file is for, its path below the object's directory.
    #[must_use]
    pub fn attribute_of_lio(self, file: &str) -> Option<&'static Attribute> {
        let mut translated = self.attributes().iter();
        if let Some(row) = translated.find(|row| row.lio_file == Some(file)) {
            return Some(row);
        }
        let (group, name) = file.split_once('/')?;
        self.attribute(&format!("{group}.{name}"))
            .filter(|row| row.lio_file.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lio_path_of_each_row_leads_back_to_it() {
        for kind in ObjectKind::ALL {
            for row in kind.attributes() {
                if let Some(path) = row.lio_path() {
                    let found = kind.attribute_of_lio(&path).map(|row| row.name);
                    assert_eq!(found, Some(row.name), "{kind:?} {path}");
                }
            }
        }
    }

    #[test]
    fn lio_values_of_each_default_are_read_back() {
        for kind in ObjectKind::ALL {
            for row in kind.attributes() {
                if let Some(value) = row.default_in(super::super::Column::Lio) {
                    let text = row.to_lio(&value);
                    assert_eq!(
                        row.parse(&row.from_lio(Raw::from(text.as_str()))).as_ref(),
                        Ok(&value),
                        "{}",
                        row.name
                    );
                }
            }
        }
    }

    #[test]
    fn attribute_of_lio_authentication_is_a_choice_of_ours() {
        let row = ObjectKind::Tpg
            .attribute_of_lio("attrib/authentication")
            .expect("a row");
        assert_eq!(row.name, "authentication");
        assert_eq!(row.to_lio(&Value::text("chap")), "1");
        assert_eq!(
            row.parse(&row.from_lio(Raw::from("0"))),
            Ok(Value::text("none"))
        );
        assert!(ObjectKind::Tpg.attribute_of_lio("attrib/colour").is_none());
        assert!(
            ObjectKind::Backstore
                .attribute_of_lio("attrib/emulate_tpu")
                .is_some_and(|row| row.name == "thin")
        );
    }
}
