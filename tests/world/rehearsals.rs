//! A stateful fake of the rehearsals seam: it tells what was watched, and reports what a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mayfly::database::history::History;
use mayfly::database::{Password, Rehearsals, Seed};
use mayfly::fault::Fault;
use mayfly::preview::rehearsal::{
    Change, Lock, LockMode, ObjectKind, Report, Rewrites, SchemaChange, SchemaDiff, Since,
    Statement, Took, Watch,
};
use mayfly::preview::{PreviewName, Revision};

use super::faults::Faults;

#[derive(Default)]
struct Truth {
    watched: Vec<(PreviewName, Revision)>,
    histories: BTreeMap<String, Vec<History>>,
}

/// The fake; clones share it.
#[derive(Clone)]
pub struct FakeRehearsals {
    truth: Arc<Mutex<Truth>>,
    faults: Faults,
}

impl FakeRehearsals {
    pub fn new(faults: Faults) -> Self {
        Self { truth: Arc::default(), faults }
    }

    /// What was watched, each once, in order.
    pub fn watched(&self) -> Vec<(PreviewName, Revision)> {
        self.truth.lock().unwrap().watched.clone()
    }

    /// What the preview's database has had from now on.
    pub fn put_history(&self, name: &PreviewName, histories: Vec<History>) {
        self.truth.lock().unwrap().histories.insert(name.database(), histories);
    }
}

/// What a watched run is reported to have done; one that nobody watched lacks its statements.
pub fn report(revision: &Revision, watched: bool) -> Report {
    let lock = Lock { relation: "shop.orders".to_owned(), mode: LockMode::AccessExclusive };
    let statement = Statement {
        text: "ALTER TABLE orders ADD COLUMN note text".to_owned(),
        times: 1,
        took: Took::Exactly(Duration::from_millis(1200)),
        waited: Duration::ZERO,
        locks: vec![lock.clone()],
        waits_for: Some(lock),
    };
    let change = SchemaChange {
        kind: ObjectKind::Column,
        name: "shop.orders.note".to_owned(),
        change: Change::Altered { from: "int".to_owned(), to: "text".to_owned() },
    };
    Report {
        revision: revision.clone(),
        watch: Watch {
            samples: 80,
            period: Duration::from_millis(15),
            left_out: 0,
            gap: (!watched).then(|| "nobody watched".to_owned()),
        },
        statements: if watched { vec![statement] } else { Vec::new() },
        rewrites: Ok(Rewrites {
            since: Since::Start,
            tables: vec!["shop.orders".to_owned()],
            indexes: Vec::new(),
        }),
        schema: Ok(SchemaDiff { changes: vec![change], left_out: 0 }),
    }
}

#[async_trait]
impl Rehearsals for FakeRehearsals {
    async fn watch(&self, name: &PreviewName, revision: &Revision) {
        let mut truth = self.truth.lock().unwrap();
        let run = (name.clone(), revision.clone());
        if !truth.watched.contains(&run) {
            truth.watched.push(run);
        }
    }

    async fn report(&self, name: &PreviewName, revision: &Revision, _: &Seed) -> Report {
        report(revision, self.watched().contains(&(name.clone(), revision.clone())))
    }

    async fn history(&self, name: &PreviewName, _: &Password) -> Result<Vec<History>, Fault> {
        self.faults.run("rehearsals.history", || {
            let truth = self.truth.lock().unwrap();
            Ok(truth.histories.get(&name.database()).cloned().unwrap_or_default())
        })
    }
}
