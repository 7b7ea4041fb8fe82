//! The two protocol eras, and which of them a test server speaks.
//!
//! Real servers speak one era, rarely both. rmcp answers both; this module restricts it to one.

use std::{borrow::Cow, fmt, str::FromStr};

use rmcp::{
    ErrorData,
    model::{DiscoverRequestMethod, ProtocolVersion},
};

/// The lifecycle a server speaks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Era {
    /// Up to 2025-11-25: `initialize` opens a session, `server/discover` is an unknown method.
    Legacy,
    /// 2026-07-28: `server/discover` answers, `initialize` is refused.
    Modern,
    /// Whatever the client asks for, as rmcp does on its own.
    #[default]
    Both,
}

/// The two requests that can open a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Opening {
    Initialize,
    Discover,
}

impl Era {
    /// The protocol versions a server of this era says it supports.
    ///
    /// A legacy server keeps the whole list: rmcp checks the version of a `server/discover` before
    /// the handler sees it, and would answer "unsupported version" where old servers answer
    /// "method not found".
    pub(crate) fn supported_versions(self) -> Cow<'static, [ProtocolVersion]> {
        match self {
            Self::Legacy | Self::Both => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
            Self::Modern => Cow::Borrowed(MODERN_VERSIONS),
        }
    }

    /// The error with which a server of this era answers an opening of the other one.
    pub(crate) fn refusal(
        self,
        opening: Opening,
        asked: Option<&ProtocolVersion>,
    ) -> Option<ErrorData> {
        match (self, opening) {
            (Self::Legacy, Opening::Discover) => {
                Some(ErrorData::method_not_found::<DiscoverRequestMethod>())
            }
            (Self::Modern, Opening::Initialize) => Some(ErrorData::unsupported_protocol_version(
                asked.cloned().unwrap_or_default(),
                MODERN_VERSIONS,
            )),
            _ => None,
        }
    }
}

impl FromStr for Era {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "legacy" => Ok(Self::Legacy),
            "modern" => Ok(Self::Modern),
            "both" => Ok(Self::Both),
            _ => Err(format!("no such era: {text} (legacy, modern or both)")),
        }
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
            Self::Both => "both",
        })
    }
}

const MODERN_VERSIONS: &[ProtocolVersion] = &[ProtocolVersion::V_2026_07_28];
