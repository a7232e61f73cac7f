//! What a pull request's labels choose: a tier, and feature flags.
//!
//! A function of the configured names and labels, and of the labels that the pull request has. Refuses
//! to know what a tier is made of, and what a flag does: only what they are called.

use std::collections::BTreeMap;

/// A tier as a label asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierLabel {
    /// The tier's name.
    pub name: String,
    /// The label that asks for it.
    pub label: String,
    /// What tells its data set from those of others: where the configuration has it. `None` where it has
    /// the repository's own.
    pub data_of: Option<String>,
}

/// A feature flag as a label switches it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagLabel {
    /// The flag's name.
    pub name: String,
    /// The label that switches it on.
    pub label: String,
}

/// What a repository's labels can choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// The tiers, in the order of the configuration.
    pub tiers: Vec<TierLabel>,
    /// The tier of a pull request that has no tier's label.
    pub default_tier: Option<String>,
    /// The flags.
    pub flags: Vec<FlagLabel>,
}

/// What was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The tier, where the repository has tiers and one was chosen.
    pub tier: Option<String>,
    /// Tiers that labels asked for too; the first in the configuration goes before.
    pub passed_over: Vec<String>,
    /// Every flag, and whether it is on.
    pub flags: BTreeMap<String, bool>,
}

impl Choices {
    /// Whether there is nothing to choose, so that labels do not matter.
    pub fn is_empty(&self) -> bool {
        self.tiers.is_empty() && self.flags.is_empty()
    }

    /// Every label that chooses something.
    pub fn labels(&self) -> Vec<String> {
        let tiers = self.tiers.iter().map(|tier| &tier.label);
        tiers.chain(self.flags.iter().map(|flag| &flag.label)).cloned().collect()
    }

    /// What these labels choose.
    pub fn choose(&self, labels: &[String]) -> Choice {
        let mut asked = self.tiers.iter().filter(|tier| labels.contains(&tier.label));
        let tier = asked.next().map(|tier| tier.name.clone());
        Choice {
            tier: tier.or_else(|| self.default_tier.clone()),
            passed_over: asked.map(|tier| tier.name.clone()).collect(),
            flags: self
                .flags
                .iter()
                .map(|flag| (flag.name.clone(), labels.contains(&flag.label)))
                .collect(),
        }
    }

    /// What tells this choice's database from another's: a number that is added to the generation of
    /// the data, so that another data set is another database. Nothing where it is the repository's.
    pub fn data_generation(&self, choice: &Choice) -> u32 {
        let tier = self.tiers.iter().find(|tier| Some(&tier.name) == choice.tier.as_ref());
        tier.and_then(|tier| tier.data_of.as_ref()).map_or(0, |of| number(&["data", of]))
    }
}

impl Choice {
    /// The flags that are on.
    pub fn on(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().filter(|(_, on)| **on).map(|(name, _)| name.as_str())
    }

    /// What tells what this choice runs from what another runs: a number that is added to the
    /// restarts of its revision. Nothing where nothing was chosen.
    pub fn restarts(&self) -> u32 {
        let mut words = Vec::new();
        words.extend(self.tier.iter().flat_map(|tier| ["tier", tier]));
        words.extend(self.on().flat_map(|flag| ["flag", flag]));
        if words.is_empty() { 0 } else { number(&words) }
    }
}

/// The same words give the same number for ever, and other words, as good as always, another:
/// FNV-1a, since what Rust itself hashes with may change with its version.
fn number(words: &[&str]) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for word in words {
        for byte in word.bytes().chain([0]) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices() -> Choices {
        let tier = |name: &str, data_of: Option<&str>| TierLabel {
            name: name.to_owned(),
            label: format!("preview:{name}"),
            data_of: data_of.map(str::to_owned),
        };
        let flag = |name: &str| FlagLabel { name: name.to_owned(), label: format!("flag:{name}") };
        Choices {
            tiers: vec![tier("lite", None), tier("full", Some("full")), tier("big", Some("full"))],
            default_tier: Some("lite".to_owned()),
            flags: vec![flag("checkout"), flag("search")],
        }
    }

    fn chosen(labels: &[&str]) -> Choice {
        choices().choose(&labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn labels_choose_and_the_first_tier_of_the_configuration_goes_before_the_others() {
        assert_eq!(chosen(&["ui"]).tier.as_deref(), Some("lite"));
        let both = chosen(&["preview:big", "preview:full"]);
        assert_eq!(both.tier.as_deref(), Some("full"));
        assert_eq!(both.passed_over, ["big"]);
        let flagged = chosen(&["flag:search", "preview:full"]);
        assert_eq!(flagged.on().collect::<Vec<_>>(), ["search"]);
        assert!(!flagged.flags["checkout"]);
        assert_eq!(Choices::default().choose(&["preview:full".to_owned()]), Choice::default());
    }

    #[test]
    fn another_choice_is_another_revision_and_only_another_data_set_is_another_database() {
        let all: Vec<_> =
            [&[][..], &["preview:full"], &["preview:big"], &["flag:checkout"]].map(chosen).to_vec();
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(one.restarts(), other.restarts(), "{one:?} {other:?}");
            }
        }
        let data = |labels: &[&str]| choices().data_generation(&chosen(labels));
        assert_eq!(data(&["flag:checkout"]), 0, "the repository's own");
        assert_eq!(data(&["preview:full"]), data(&["preview:big"]), "the same data set");
        assert_ne!(data(&["preview:full"]), 0);
        assert_eq!(Choice::default().restarts(), 0);
    }

    #[test]
    fn the_numbers_are_the_same_in_every_version() {
        assert_eq!(chosen(&["preview:full", "flag:search"]).restarts(), 825_083_064);
    }
}
