//! Files that configure parts of a cluster: kinds of the API that no server serves (`AuthenticationConfiguration`,
//! `KubeSchedulerConfiguration`), in YAML or JSON.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads YAML or JSON.
///
/// # Errors
/// It is neither, or has a key twice: the message says where.
pub fn value(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Reads a whole file of one type, by way of its value: one program reads YAML, whatever comes of it.
///
/// # Errors
/// As [`value`] and [`decode`].
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    decode(&value(text)?, "")
}

/// Decodes what is at `path` in a file; errors name the place within.
///
/// # Errors
/// It is not of the type.
pub fn decode<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let place = match (path, inner.as_str()) {
            ("", inner) => inner,
            (path, ".") => path,
            (path, inner) => &format!("{path}.{inner}"),
        };
        format!("{place}: {}", error.inner())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "inner")]
        _inner: Vec<Inner>,
    }

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "number")]
        _number: u8,
    }

    #[test]
    fn errors_name_the_place() {
        let told = |text| read::<Outer>(text).unwrap_err();
        assert_eq!(
            told("inner: [{number: 1}, {number: x}]"),
            "inner[1].number: invalid type: string \"x\", expected u8"
        );
        assert_eq!(told("inner: [{name: x}]"), "inner[0].name: unknown field `name`, expected `number`");
        let number = decode::<u8>(&Value::from("x"), "of[0]").unwrap_err();
        assert_eq!(number, "of[0]: invalid type: string \"x\", expected u8");
        assert!(told("inner: []\ninner: []").contains("duplicate"), "{}", told("inner: []\ninner: []"));
    }
}
