//! What a database's catalogue says, as data, and what two of them have otherwise.
//!
//! Refuses to read a database, and to guess: a relation is the same one only by its oid, which a
//! clone keeps.

use std::collections::BTreeMap;

use crate::preview::rehearsal::{Change, ObjectKind, Rewrites, SchemaChange, SchemaDiff, Since};

/// How many changes a diff lists.
pub const CHANGES_MAX: usize = 500;

/// A table or index, and the number of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name with its schema.
    pub name: String,
    /// Whether it is an index.
    pub index: bool,
    /// `pg_class.relfilenode`; zero for what has no file of its own, as a partitioned table.
    pub file: u32,
}

/// A catalogue, read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Definitions by kind and name.
    pub objects: BTreeMap<(ObjectKind, String), String>,
    /// Tables and indexes by oid.
    pub stored: BTreeMap<u32, Stored>,
}

impl Catalogue {
    /// What `later` has otherwise, by kind and name.
    pub fn diff(&self, later: &Self) -> SchemaDiff {
        let gone = self.objects.iter().filter(|(key, _)| !later.objects.contains_key(key));
        let gone = gone.map(|(key, from)| (key, Change::Removed(from.clone())));
        let others = later.objects.iter().filter_map(|(key, to)| match self.objects.get(key) {
            None => Some((key, Change::Added(to.clone()))),
            Some(from) if from != to => {
                Some((key, Change::Altered { from: from.clone(), to: to.clone() }))
            }
            Some(_) => None,
        });
        let all: BTreeMap<_, _> = gone.chain(others).collect();
        let left_out = all.len().saturating_sub(CHANGES_MAX);
        let changes = all
            .into_iter()
            .take(CHANGES_MAX)
            .map(|((kind, name), change)| SchemaChange { kind: *kind, name: name.clone(), change });
        SchemaDiff { changes: changes.collect(), left_out }
    }

    /// What has another file in `later`. `None` where the two are not of one line: both have
    /// relations, and not one in common, as when the template was built again since.
    pub fn rewrites(&self, later: &Self, since: Since) -> Option<Rewrites> {
        let common: Vec<_> = self
            .stored
            .iter()
            .filter_map(|(oid, before)| later.stored.get(oid).map(|after| (before, after)))
            .collect();
        if common.is_empty() && !self.stored.is_empty() && !later.stored.is_empty() {
            return None;
        }
        let names = |index: bool| {
            let fresh = |(before, after): &&(&Stored, &Stored)| {
                before.file != after.file && after.index == index
            };
            let mut names: Vec<_> =
                common.iter().filter(fresh).map(|(_, after)| after.name.clone()).collect();
            names.sort();
            names
        };
        Some(Rewrites { since, tables: names(false), indexes: names(true) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{CHANGES_MAX, Catalogue, Stored};
    use crate::preview::rehearsal::{Change, ObjectKind, Rewrites, Since};

    fn catalogue(objects: &[(ObjectKind, &str, &str)]) -> Catalogue {
        let own = |(kind, name, text): &(ObjectKind, &str, &str)| {
            ((*kind, (*name).to_owned()), (*text).to_owned())
        };
        Catalogue { objects: objects.iter().map(own).collect(), stored: BTreeMap::new() }
    }

    fn stored(relations: &[(u32, &str, u32)]) -> Catalogue {
        let own = |(oid, name, file): &(u32, &str, u32)| {
            let index = name.ends_with("_idx");
            (*oid, Stored { name: (*name).to_owned(), index, file: *file })
        };
        Catalogue { objects: BTreeMap::new(), stored: relations.iter().map(own).collect() }
    }

    /// Makes the changes: what a diff is for.
    fn apply(to: &Catalogue, from: &Catalogue) -> BTreeMap<(ObjectKind, String), String> {
        let mut objects = from.objects.clone();
        for change in from.diff(to).changes {
            let key = (change.kind, change.name);
            match change.change {
                Change::Removed(text) => assert_eq!(objects.remove(&key), Some(text)),
                Change::Added(text) => assert_eq!(objects.insert(key, text), None),
                Change::Altered { from, to } => assert_eq!(objects.insert(key, to), Some(from)),
            }
        }
        objects
    }

    #[test]
    fn a_change_is_an_addition_a_removal_or_an_alteration() {
        use ObjectKind::{Column, Table};
        let before = catalogue(&[(Table, "t", ""), (Column, "t.a", "int"), (Column, "t.b", "int")]);
        let after = catalogue(&[(Table, "t", ""), (Column, "t.a", "text"), (Column, "t.c", "int")]);
        let changes: Vec<_> =
            before.diff(&after).changes.into_iter().map(|c| (c.name, c.change)).collect();
        let expected = [
            ("t.a".to_owned(), Change::Altered { from: "int".to_owned(), to: "text".to_owned() }),
            ("t.b".to_owned(), Change::Removed("int".to_owned())),
            ("t.c".to_owned(), Change::Added("int".to_owned())),
        ];
        assert_eq!(changes, expected);
    }

    #[test]
    fn a_diff_that_is_too_long_says_how_much_is_missing() {
        let mut many = Catalogue::default();
        for number in 0..CHANGES_MAX + 7 {
            many.objects.insert((ObjectKind::Table, format!("t{number}")), String::new());
        }
        let diff = Catalogue::default().diff(&many);
        assert_eq!((diff.changes.len(), diff.left_out), (CHANGES_MAX, 7));
    }

    #[test]
    fn what_has_another_file_was_rewritten_and_goes_by_its_last_name() {
        let before = stored(&[(1, "a", 10), (2, "b", 20), (3, "b_idx", 30), (4, "gone", 40)]);
        let after = stored(&[(1, "a", 10), (2, "renamed", 21), (3, "b_idx", 31), (5, "new", 50)]);
        let expected = Rewrites {
            since: Since::Start,
            tables: vec!["renamed".to_owned()],
            indexes: vec!["b_idx".to_owned()],
        };
        assert_eq!(before.rewrites(&after, Since::Start), Some(expected));
    }

    #[test]
    fn nothing_is_told_of_two_that_have_no_relation_in_common() {
        let rebuilt = stored(&[(101, "a", 110)]);
        let clone = stored(&[(1, "a", 10)]);
        assert_eq!(rebuilt.rewrites(&clone, Since::Clone), None);
        assert!(Catalogue::default().rewrites(&clone, Since::Clone).is_some());
    }

    fn any_catalogue() -> impl Strategy<Value = Catalogue> {
        let kind = (0..ObjectKind::ALL.len()).prop_map(|index| ObjectKind::ALL[index]);
        let objects = prop::collection::btree_map((kind, "[a-c]{1,2}"), "[xy]{0,2}", 0..24);
        let relation = (0u32..4, any::<bool>()).prop_map(|(file, index)| Stored {
            name: format!("r{file}"),
            index,
            file,
        });
        let stored = prop::collection::btree_map(0u32..8, relation, 0..8);
        (objects, stored).prop_map(|(objects, stored)| Catalogue { objects, stored })
    }

    proptest! {
        #[test]
        fn a_catalogue_does_not_differ_from_itself(catalogue in any_catalogue()) {
            prop_assert!(catalogue.diff(&catalogue).changes.is_empty());
            let rewrites = catalogue.rewrites(&catalogue, Since::Start).unwrap();
            prop_assert!(rewrites.tables.is_empty() && rewrites.indexes.is_empty());
        }

        #[test]
        fn the_changes_of_a_diff_lead_from_one_to_the_other(
            from in any_catalogue(),
            to in any_catalogue(),
        ) {
            prop_assert_eq!(apply(&to, &from), to.objects);
        }

        #[test]
        fn a_diff_is_in_the_order_of_kinds_and_names(
            from in any_catalogue(),
            to in any_catalogue(),
        ) {
            let keys: Vec<_> =
                from.diff(&to).changes.into_iter().map(|c| (c.kind, c.name)).collect();
            prop_assert!(keys.is_sorted_by(|a, b| a < b));
        }
    }
}
