//! Whether a preview differs from production in more than values.
//!
//! Compares what a repository states of production with what runs here. Refuses to keep anything from
//! being served: whoever tests against another version should know, and that is all.

use super::observed::Seen;

/// What a repository states of production; nothing that is not stated is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Production {
    /// PostgreSQL's major version.
    pub postgres: Option<u32>,
    /// Kubernetes' minor version: `1.34`.
    pub kubernetes: Option<String>,
    /// The chart's version.
    pub chart: Option<String>,
}

/// What runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// PostgreSQL's major version.
    pub postgres: Seen<u32>,
    /// Kubernetes' minor version.
    pub kubernetes: Seen<String>,
    /// The chart's version.
    pub chart: Seen<String>,
}

/// How a preview compares with production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parity {
    /// Nothing that is stated differs.
    Same,
    /// The text says what differs.
    Differs(String),
    /// Nothing is known to differ, and the text says what is not known.
    Unknown(String),
}

impl Production {
    /// Compares; only what is stated has to have been looked at.
    pub fn compare(&self, here: &Versions) -> Parity {
        let postgres = self.postgres.map(|it| it.to_string());
        let seen = here.postgres.map(ToString::to_string);
        let (mut differ, mut unknown) = (Vec::new(), Vec::new());
        for (what, stated, seen) in [
            ("PostgreSQL", &postgres, &seen),
            ("Kubernetes", &self.kubernetes, &here.kubernetes),
            ("chart", &self.chart, &here.chart),
        ] {
            let Some(stated) = stated else { continue };
            match seen {
                Seen::Present(version) if version == stated => {}
                Seen::Present(version) => {
                    differ.push(format!("{what} {version} here, {stated} in production"));
                }
                Seen::Absent => differ.push(format!("no {what} here, {stated} in production")),
                Seen::Unknown(why) | Seen::Leaving(why) | Seen::Foreign(why) => {
                    unknown.push(format!("{what}: {why}"));
                }
            }
        }
        match (differ.is_empty(), unknown.is_empty()) {
            (true, true) => Parity::Same,
            (false, _) => Parity::Differs(differ.join("; ")),
            (true, false) => Parity::Unknown(unknown.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Versions {
        Versions {
            postgres: Seen::Present(17),
            kubernetes: Seen::Present("1.34".to_owned()),
            chart: Seen::Unknown("its directory cannot be read".to_owned()),
        }
    }

    #[test]
    fn only_what_is_stated_is_compared_and_every_difference_is_said() {
        assert_eq!(Production::default().compare(&here()), Parity::Same);
        let mut stated = Production { postgres: Some(17), ..Production::default() };
        assert_eq!(stated.compare(&here()), Parity::Same);
        stated.chart = Some("2.3.1".to_owned());
        let Parity::Unknown(why) = stated.compare(&here()) else { panic!("it cannot be told") };
        assert_eq!(why, "chart: its directory cannot be read");
        stated.postgres = Some(16);
        stated.kubernetes = Some("1.33".to_owned());
        let Parity::Differs(why) = stated.compare(&here()) else { panic!("two differ") };
        assert_eq!(
            why,
            "PostgreSQL 17 here, 16 in production; Kubernetes 1.34 here, 1.33 in production"
        );
        let none = Versions { kubernetes: Seen::Absent, ..here() };
        let stated = Production { kubernetes: Some("1.34".to_owned()), ..Production::default() };
        assert_eq!(
            stated.compare(&none),
            Parity::Differs("no Kubernetes here, 1.34 in production".to_owned())
        );
    }
}
