//! Versions of the protocol, and what each has.

use serde::{Deserialize, Serialize};

/// A version of the CNI specification that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Version {
    /// 0.3.0
    #[serde(rename = "0.3.0")]
    V0_3_0,
    /// 0.3.1
    #[serde(rename = "0.3.1")]
    V0_3_1,
    /// 0.4.0, which brought CHECK.
    #[serde(rename = "0.4.0")]
    V0_4_0,
    /// 1.0.0, in whose results addresses name no version of IP any more.
    #[serde(rename = "1.0.0")]
    V1_0_0,
    /// 1.1.0, which brought GC and STATUS.
    #[serde(rename = "1.1.0")]
    V1_1_0,
}

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Version; 5] = [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0, Version::V1_0_0, Version::V1_1_0];

    /// As configurations have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// The version of a text, if it is spoken here.
    pub fn parse(text: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// Whether CHECK is asked, and DEL told the result of ADD.
    pub fn has_check(self) -> bool {
        self >= Version::V0_4_0
    }

    /// Whether addresses of results say of which version of IP they are.
    pub fn names_ip_versions(self) -> bool {
        self < Version::V1_0_0
    }

    /// Whether STATUS and GC are asked.
    pub fn has_status_and_gc(self) -> bool {
        self >= Version::V1_1_0
    }
}
