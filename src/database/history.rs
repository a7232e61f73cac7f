//! Which migrations a database has had, as the tools keep it, and whether more can be added.
//!
//! Pure. Refuses to compare what a tool does not keep: without checksums an edited migration looks
//! like the one that was applied.

/// A migration tool whose table is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tool {
    /// `_sqlx_migrations`.
    Sqlx,
    /// `__diesel_schema_migrations`.
    Diesel,
    /// `flyway_schema_history`.
    Flyway,
    /// `databasechangelog`.
    Liquibase,
    /// `schema_migrations` of ActiveRecord, and others that keep versions alone.
    Rails,
    /// `schema_migrations` of golang-migrate, with its `dirty` column.
    GolangMigrate,
    /// `alembic_version`.
    Alembic,
    /// `django_migrations`.
    Django,
    /// `_prisma_migrations`.
    Prisma,
    /// `knex_migrations`.
    Knex,
    /// `goose_db_version`.
    Goose,
}

/// What a tool's table says about the order of what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Everything in order: the applied ones are the beginning of the new list.
    Sequence,
    /// Everything, but the tool itself applies late-comers in between: each applied one is in the
    /// new list, wherever.
    Set,
    /// The last one only (of each branch): it is in the new list. Whether those before it are the
    /// same is not kept, and so not known.
    Head,
}

impl Tool {
    /// What its table says about the order.
    pub fn keeps(self) -> Kept {
        match self {
            Self::Sqlx | Self::Diesel | Self::Flyway | Self::Liquibase => Kept::Sequence,
            Self::Prisma | Self::Knex | Self::Goose => Kept::Sequence,
            Self::Rails | Self::Django => Kept::Set,
            Self::GolangMigrate | Self::Alembic => Kept::Head,
        }
    }
}

/// One migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the tool knows it by: a version, a name, `app.name` (Django), `file::id::author`
    /// (Liquibase).
    pub id: String,
    /// The tool's checksum of its text, where it keeps one; hexadecimal where it is bytes.
    pub checksum: Option<String>,
    /// Whether it came to its end; one that failed half-way is kept by some tools.
    pub finished: bool,
}

/// What one tool has applied to a database, in the order in which it counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Which tool.
    pub tool: Tool,
    /// Its table, with the schema.
    pub table: String,
    /// What it has applied.
    pub entries: Vec<Entry>,
}

/// Whether a database with this history can take the new list as if it had begun with it. If not,
/// its data is not what the new migrations would have made, and the preview needs a fresh clone.
///
/// A migration that did not finish is no history to go on from. Checksums count where both sides
/// have one.
pub fn is_prefix(old: &History, new: &[Entry]) -> bool {
    let same = |applied: &Entry, listed: &Entry| {
        let checksums = applied.checksum.as_ref().zip(listed.checksum.as_ref());
        applied.id == listed.id && checksums.is_none_or(|(a, b)| a == b)
    };
    let fits = match old.tool.keeps() {
        Kept::Sequence => {
            old.entries.len() <= new.len()
                && old.entries.iter().zip(new).all(|(applied, listed)| same(applied, listed))
        }
        Kept::Set | Kept::Head => {
            old.entries.iter().all(|applied| new.iter().any(|listed| same(applied, listed)))
        }
    };
    fits && old.entries.iter().all(|applied| applied.finished)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Entry, History, Tool, is_prefix};

    /// `2`, `2#abc` with a checksum, `2!` that failed.
    fn entry(text: &str) -> Entry {
        let (text, finished) = text.strip_suffix('!').map_or((text, true), |text| (text, false));
        let (id, checksum) = text.split_once('#').map_or((text, None), |(id, c)| (id, Some(c)));
        Entry { id: id.to_owned(), checksum: checksum.map(str::to_owned), finished }
    }

    fn entries(text: &str) -> Vec<Entry> {
        text.split_whitespace().map(entry).collect()
    }

    fn history(tool: Tool, text: &str) -> History {
        History { tool, table: "public.t".to_owned(), entries: entries(text) }
    }

    #[test]
    fn whether_a_history_goes_on_depends_on_what_its_tool_keeps() {
        for (tool, old, new, expected) in [
            (Tool::Sqlx, "", "", true),
            (Tool::Sqlx, "", "1", true),
            (Tool::Sqlx, "1 2", "1 2 3", true),
            (Tool::Sqlx, "1 2", "1", false),
            (Tool::Sqlx, "1 3", "1 2 3", false),
            (Tool::Sqlx, "1#a 2#b", "1#a 2#b 3#c", true),
            (Tool::Sqlx, "1#a 2#b", "1#a 2#edited", false),
            (Tool::Sqlx, "1#a", "1", true),
            (Tool::Flyway, "1 2!", "1 2 3", false),
            (Tool::Rails, "1 3", "1 2 3", true),
            (Tool::Rails, "1 3", "1 2", false),
            (Tool::Django, "shop.0001 auth.0001", "auth.0001 shop.0001", true),
            (Tool::Alembic, "c", "a b c d", true),
            (Tool::Alembic, "x", "a b c d", false),
            (Tool::Alembic, "b x", "a b x", true),
            (Tool::GolangMigrate, "2", "1 2 3", true),
            (Tool::GolangMigrate, "2!", "1 2 3", false),
        ] {
            let old = history(tool, old);
            assert_eq!(is_prefix(&old, &entries(new)), expected, "{old:?} {new}");
        }
    }

    proptest! {
        #[test]
        fn a_history_goes_on_with_itself_and_with_anything_after_it(
            ids in prop::collection::vec("[a-c]{1,2}", 0..6),
            more in prop::collection::vec("[a-c]{1,2}", 0..6),
        ) {
            for tool in [Tool::Sqlx, Tool::Rails, Tool::Alembic] {
                let old = history(tool, &ids.join(" "));
                let mut new = old.entries.clone();
                new.extend(entries(&more.join(" ")));
                prop_assert!(is_prefix(&old, &new));
            }
        }

        #[test]
        fn a_sequence_goes_on_only_where_it_is_the_beginning(
            old in prop::collection::vec("[ab]", 0..4),
            new in prop::collection::vec("[ab]", 0..4),
        ) {
            let expected = new.starts_with(&old);
            let old = history(Tool::Knex, &old.join(" "));
            prop_assert_eq!(is_prefix(&old, &entries(&new.join(" "))), expected);
        }
    }
}
