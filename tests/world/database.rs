//! A stateful fake of the databases seam.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mayfly::database::{DatabaseOrder, Databases, DatabasesSeen, Password};
use mayfly::fault::{Fault, Progress};
use mayfly::preview::observed::DatabaseSeen;
use mayfly::preview::{PreviewName, Seen};

use super::faults::Faults;

#[derive(Default)]
struct Truth {
    databases: BTreeMap<String, u32>,
    seeds: BTreeMap<String, String>,
    roles: BTreeMap<String, String>,
    foreign: Vec<String>,
    underway: u32,
}

/// Databases and roles in memory; clones share them.
#[derive(Clone)]
pub struct FakeDatabases {
    truth: Arc<Mutex<Truth>>,
    faults: Faults,
}

impl FakeDatabases {
    pub fn new(faults: Faults) -> Self {
        Self { truth: Arc::default(), faults }
    }

    /// The databases that are there, with their generations.
    pub fn databases(&self) -> BTreeMap<String, u32> {
        self.truth.lock().unwrap().databases.clone()
    }

    /// The digest of the seed that the database which is there was made from.
    pub fn seed_of(&self, name: &PreviewName) -> Option<String> {
        let truth = self.truth.lock().unwrap();
        truth.databases.get(&name.database())?;
        truth.seeds.get(&name.database()).cloned()
    }

    /// The roles that are there.
    pub fn roles(&self) -> Vec<String> {
        self.truth.lock().unwrap().roles.keys().cloned().collect()
    }

    /// Somebody else's database takes this name.
    pub fn plant_foreign(&self, name: &PreviewName) {
        self.truth.lock().unwrap().foreign.push(name.database());
    }

    /// Removes database and role by hand.
    pub fn destroy(&self, name: &PreviewName) {
        let mut truth = self.truth.lock().unwrap();
        truth.databases.remove(&name.database());
        truth.roles.remove(&name.role());
    }

    /// The next so many calls say "underway".
    pub fn be_slow(&self, calls: u32) {
        self.truth.lock().unwrap().underway = calls;
    }

    fn refuse_foreign(truth: &Truth, name: &PreviewName) -> Result<(), Fault> {
        if truth.foreign.contains(&name.database()) {
            return Err(Fault::not_ours(format!("touching {}", name.database()), "not ours"));
        }
        Ok(())
    }
}

#[async_trait]
impl Databases for FakeDatabases {
    async fn observe(&self, name: &PreviewName, password: &Password) -> DatabasesSeen {
        let look = || {
            let truth = self.truth.lock().unwrap();
            let database = match truth.databases.get(&name.database()) {
                _ if truth.foreign.contains(&name.database()) => {
                    Seen::Foreign("somebody".to_owned())
                }
                Some(generation) => {
                    let known = truth.roles.get(&name.role());
                    let ready = known.is_none_or(|known| known == password.reveal());
                    Seen::Present(DatabaseSeen { ready, generation: Some(*generation) })
                }
                None => Seen::Absent,
            };
            let role = match truth.roles.get(&name.role()) {
                Some(_) => Seen::Present(()),
                None => Seen::Absent,
            };
            Ok(DatabasesSeen { database, role })
        };
        self.faults.run("databases.observe", look).unwrap_or_else(|fault| DatabasesSeen {
            database: Seen::Unknown(fault.to_string()),
            role: Seen::Unknown(fault.to_string()),
        })
    }

    async fn ensure_database(
        &self,
        name: &PreviewName,
        order: &DatabaseOrder<'_>,
    ) -> Result<Progress, Fault> {
        self.faults.run("databases.ensure_database", || {
            let mut truth = self.truth.lock().unwrap();
            Self::refuse_foreign(&truth, name)?;
            if truth.underway > 0 {
                truth.underway -= 1;
                return Ok(Progress::Underway("database: being cloned".to_owned()));
            }
            truth.roles.insert(name.role(), order.password.reveal().to_owned());
            // What is there stays what it was made from.
            if truth.databases.insert(name.database(), order.generation).is_none() {
                truth.seeds.insert(name.database(), order.seed.digest().to_owned());
            }
            Ok(Progress::Done)
        })
    }

    async fn remove_database(&self, name: &PreviewName) -> Result<(), Fault> {
        self.faults.run("databases.remove_database", || {
            let mut truth = self.truth.lock().unwrap();
            Self::refuse_foreign(&truth, name)?;
            truth.databases.remove(&name.database());
            Ok(())
        })
    }

    async fn remove_role(&self, name: &PreviewName) -> Result<(), Fault> {
        self.faults.run("databases.remove_role", || {
            self.truth.lock().unwrap().roles.remove(&name.role());
            Ok(())
        })
    }

    async fn owned(&self) -> Result<Vec<PreviewName>, Fault> {
        self.faults.run("databases.owned", || {
            let truth = self.truth.lock().unwrap();
            let mut names: Vec<_> = truth.databases.keys().chain(truth.roles.keys()).collect();
            names.sort();
            names.dedup();
            Ok(names.into_iter().filter_map(|n| PreviewName::parse_database(n)).collect())
        })
    }

    fn major_version(&self) -> Seen<u32> {
        Seen::Present(17)
    }

    fn url(&self, name: &PreviewName, password: &Password) -> String {
        format!("postgres://{}:{}@fake/{}", name.role(), password.reveal(), name.database())
    }
}
