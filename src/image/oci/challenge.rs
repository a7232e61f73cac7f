//! What a registry wants to know of us before it answers: `WWW-Authenticate` (RFC 9110 §11.6.1).
//!
//! Refuses schemes that registries do not have; a token is preferred to a password.

use http_auth::parser::ChallengeParser;
use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// A kind of login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token from a token server; see
    /// <https://distribution.github.io/distribution/spec/auth/token/>.
    Bearer {
        /// The token server.
        realm: Url,
        /// For which service the token is.
        service: Option<String>,
    },
}

impl Challenge {
    /// The one that we can answer best, if any.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|it| it.to_str().ok());
        let known = texts.flat_map(|text| {
            let challenges = ChallengeParser::new(text).map_while(Result::ok);
            challenges.filter_map(|challenge| {
                let value = |wanted: &str| {
                    let found = challenge.params.iter();
                    let found =
                        found.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                    found.map(|(_, value)| value.to_unescaped())
                };
                match challenge.scheme.to_ascii_lowercase().as_str() {
                    "basic" => Some(Self::Basic),
                    "bearer" => {
                        let realm = Url::parse(&value("realm")?).ok()?;
                        Some(Self::Bearer { realm, service: value("service") })
                    }
                    _ => None,
                }
            })
        });
        known.max_by_key(|challenge| matches!(challenge, Self::Bearer { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn a_challenge_is_read_as_registries_write_it() {
        let bearer = |realm: &str, service: Option<&str>| {
            let (realm, service) = (Url::parse(realm).unwrap(), service.map(str::to_owned));
            Some(Challenge::Bearer { realm, service })
        };
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        let token = bearer("https://auth.docker.io/token", Some("registry.docker.io"));
        assert_eq!(of(&[hub]), token);
        assert_eq!(of(&["Basic realm=\"x\"", hub]), token, "a token is preferred");
        assert_eq!(of(&[hub, "Basic realm=\"x\""]), token);
        assert_eq!(of(&[&format!("Basic realm=\"x\", {hub}")]), token);
        assert_eq!(of(&[r#"bearer REALM="https://a.io/t""#]), bearer("https://a.io/t", None));
        for basic in ["Basic realm=\"Registry Realm\"", "basic realm=x", "Basic"] {
            assert_eq!(of(&[basic]), Some(Challenge::Basic), "{basic}");
        }
        for strange in
            ["Bearer", "Bearer realm=\"\"", "Bearer realm=\"/token\"", "Negotiate", "", ",", "="]
        {
            assert_eq!(of(&[strange]), None, "{strange}");
        }
    }
}
