//! Which migrations a directory of the repository holds, told from the names of what is in it.
//!
//! Pure. Refuses to guess: where a tool's ids are inside its files, nothing is told, and nothing is
//! compared.

use super::history::{Entry, History, Tool, is_prefix};

/// Why a database with these histories cannot go on to the migrations that are listed `now`, if it
/// cannot. Only what the list of `before`, which its last migrations came from, has is the pull
/// request's: the rest came with the seed, and a fresh clone would have it again.
pub fn diverged(histories: &[History], before: &[String], now: &[String]) -> Option<String> {
    histories.iter().find_map(|history| {
        let (before, now) = (entries(history.tool, before)?, entries(history.tool, now)?);
        let listed = |entry: &Entry| before.iter().any(|it| it.id == entry.id);
        let own: Vec<_> = history.entries.iter().filter(|entry| listed(entry)).cloned().collect();
        let own = History { entries: own, ..history.clone() };
        (!is_prefix(&own, &now)).then(|| {
            let gone = own.entries.iter().find(|it| now.iter().all(|new| new.id != it.id));
            let what = match (gone, own.entries.iter().find(|it| !it.finished)) {
                (Some(gone), _) => format!("{} is not among the commit's migrations", gone.id),
                (None, Some(broken)) => format!("{} did not come to its end", broken.id),
                (None, None) => "the commit has others before those that ran".to_owned(),
            };
            format!("{}: {what}", history.table)
        })
    })
}

/// What a tool would call the migrations of a directory with these names in it, in its order; `None`
/// where names do not say.
fn entries(tool: Tool, names: &[String]) -> Option<Vec<Entry>> {
    let mut found: Vec<(Order, String)> = match tool {
        // Their ids are in the files, or made of more than the name.
        Tool::Alembic | Tool::Liquibase | Tool::Django => return None,
        Tool::Sqlx | Tool::Goose | Tool::GolangMigrate => {
            names.iter().filter_map(|name| number(name)).collect()
        }
        Tool::Rails => names.iter().filter_map(|name| digits(name).map(plain)).collect(),
        Tool::Diesel => names.iter().filter_map(|name| diesel(name).map(plain)).collect(),
        Tool::Flyway => names.iter().filter_map(|name| flyway(name)).collect(),
        // A directory each; the file beside them says which database it is.
        Tool::Prisma => {
            let directories = names.iter().filter(|name| !name.contains('.'));
            directories.map(|name| plain(name.clone())).collect()
        }
        Tool::Knex => {
            let files = names.iter().filter(|name| is_knex(name));
            files.map(|name| plain(name.clone())).collect()
        }
    };
    found.sort();
    // The way up and the way down are one migration.
    found.dedup();
    let entry = |(_, id)| Entry { id, checksum: None, finished: true };
    Some(found.into_iter().map(entry).collect())
}

/// Numbers as numbers, and whatever else by its text.
type Order = Vec<u64>;

fn plain(id: String) -> (Order, String) {
    (Vec::new(), id)
}

/// What Knex loads (its `loadExtensions`), and no helper beside it that begins with a dot.
fn is_knex(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let known = ["co", "coffee", "eg", "iced", "js", "cjs", "litcoffee", "ls", "mjs", "sql", "ts"];
    !name.starts_with('.') && extension.is_some_and(|it| known.contains(&it))
}

/// The digits that a name begins with, up to its first `_`, `-` or `.`.
fn digits(name: &str) -> Option<String> {
    let end = name.find(|c: char| !c.is_ascii_digit())?;
    let stands = end > 0 && name[end..].starts_with(['_', '-', '.']);
    stands.then(|| name[..end].to_owned())
}

/// The same as a number: `0001_products.up.sql` is 1.
fn number(name: &str) -> Option<(Order, String)> {
    let number: u64 = digits(name)?.parse().ok()?;
    Some((vec![number], number.to_string()))
}

/// `2024-01-31-120000_products` is 20240131120000.
fn diesel(name: &str) -> Option<String> {
    let id = name.split_once('_')?.0.replace('-', "");
    let is_version = !id.is_empty() && id.chars().all(|c| c.is_ascii_digit());
    is_version.then_some(id)
}

/// `V2_1__products.sql` is 2.1; what is repeated or undone has no version of its own.
fn flyway(name: &str) -> Option<(Order, String)> {
    let id = name.strip_prefix('V')?.split_once("__")?.0.replace('_', ".");
    let order: Option<Order> = id.split('.').map(|part| part.parse().ok()).collect();
    Some((order?, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn history(tool: Tool, ids: &str) -> History {
        let entry = |word: &str| Entry {
            id: word.trim_end_matches('!').to_owned(),
            checksum: None,
            finished: !word.ends_with('!'),
        };
        let entries = ids.split_whitespace().map(entry).collect();
        History { tool, table: "t".to_owned(), entries }
    }

    #[test]
    fn the_names_in_a_directory_are_told_as_each_tool_tells_them() {
        for (tool, listed, ids) in [
            (Tool::Sqlx, "0010_b.sql 0002_a.up.sql 0002_a.down.sql README.md", "2 10"),
            (Tool::Goose, "00001_a.sql 00002_b.go", "1 2"),
            (Tool::GolangMigrate, "000001_a.up.sql 000001_a.down.sql", "1"),
            (Tool::Rails, "20240101000000_create_orders.rb", "20240101000000"),
            (Tool::Diesel, "2024-01-31-120000_orders .keep", "20240131120000"),
            (Tool::Flyway, "V10__c.sql V2_1__b.sql V2__a.sql R__view.sql U2__a.sql", "2 2.1 10"),
            (Tool::Prisma, "20240101_init migration_lock.toml", "20240101_init"),
            (Tool::Knex, "20240101_b.js 20230101_a.js", "20230101_a.js 20240101_b.js"),
        ] {
            let found = entries(tool, &names(listed)).unwrap();
            let found: Vec<_> = found.into_iter().map(|entry| entry.id).collect();
            assert_eq!(found.join(" "), ids, "{tool:?}");
        }
        for tool in [Tool::Alembic, Tool::Liquibase, Tool::Django] {
            assert_eq!(entries(tool, &names("0001_a.py")), None);
        }
    }

    #[test]
    fn a_migration_that_the_new_commit_lacks_or_that_broke_off_asks_for_fresh_data() {
        for (had, before, now, fresh) in [
            ("1 2", "1_a.sql 2_b.sql", "1_a.sql 2_b.sql 3_c.sql", false),
            ("1 2", "1_a.sql 2_b.sql", "1_a.sql", true),
            ("1 3", "1_a.sql 3_c.sql", "1_a.sql 2_b.sql 3_c.sql", true),
            ("1 2!", "1_a.sql 2_b.sql", "1_a.sql 2_b.sql", true),
            // The seed is newer than the branch: it would come again with the next clone.
            ("1 2 9", "1_a.sql 2_b.sql", "1_a.sql 2_b.sql 3_c.sql", false),
            ("", "1_a.sql", "1_a.sql", false),
        ] {
            let told = diverged(&[history(Tool::Sqlx, had)], &names(before), &names(now));
            assert_eq!(told.is_some(), fresh, "{had} / {now}: {told:?}");
        }
        assert_eq!(diverged(&[history(Tool::Alembic, "x")], &names("x.py"), &[]), None);
    }
}
