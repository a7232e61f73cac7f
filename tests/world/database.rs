//! A stateful fake of the databases seam.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mayfly::database::{DatabaseOrder, Databases, DatabasesSeen, Login, Password};
use mayfly::fault::{Fault, Progress};
use mayfly::preview::observed::DatabaseSeen;
use mayfly::preview::{ComponentName, PreviewName, Seen};

use super::faults::Faults;

/// Instead of a password: nobody can log in.
const LOCKED: &str = "";

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

    /// Whether a login with this URL is let in.
    pub fn lets_in(&self, url: &str) -> bool {
        let login = url["postgres://".len()..].split('@').next().unwrap();
        let (role, password) = login.split_once(':').unwrap();
        let truth = self.truth.lock().unwrap();
        password != LOCKED && truth.roles.get(role).is_some_and(|known| known == password)
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
                    let of = |login: Login| truth.roles.get(&login.role(name));
                    let known = of(password.login());
                    let any = of(Login::First).or(of(Login::Second)).is_some();
                    let ready = !any || known.is_some_and(|known| known == password.reveal());
                    let stale_login =
                        of(password.login().other()).is_some_and(|known| known != LOCKED);
                    Seen::Present(DatabaseSeen {
                        ready,
                        generation: Some(*generation),
                        stale_login,
                    })
                }
                None => Seen::Absent,
            };
            let either = [name.role(), name.second_role()];
            let role = match either.iter().any(|role| truth.roles.contains_key(role)) {
                true => Seen::Present(()),
                false => Seen::Absent,
            };
            let of_component = |(text, generation): (&String, &u32)| {
                let (of, component) = ComponentName::parse_database(text)?;
                let ready = matches!(&database, Seen::Present(own) if own.ready);
                let stale_login = false;
                let seen = DatabaseSeen { ready, generation: Some(*generation), stale_login };
                (of == *name).then_some((component, Seen::Present(seen)))
            };
            let components = truth.databases.iter().filter_map(of_component).collect();
            Ok(DatabasesSeen { database, role, components })
        };
        let seen = self.faults.run("databases.observe", look);
        seen.unwrap_or_else(|fault| DatabasesSeen::unknown(&fault.to_string()))
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
            truth.roles.entry(name.role()).or_insert_with(|| LOCKED.to_owned());
            let role = order.password.login().role(name);
            truth.roles.insert(role, order.password.reveal().to_owned());
            for component in order.components {
                truth.databases.insert(component.database(name), order.generation);
            }
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
            let beside = format!("{}__", name.database());
            truth.databases.retain(|it, _| *it != name.database() && !it.starts_with(&beside));
            Ok(())
        })
    }

    async fn remove_login(&self, name: &PreviewName, password: &Password) -> Result<(), Fault> {
        self.faults.run("databases.remove_login", || {
            let mut truth = self.truth.lock().unwrap();
            let former = password.login().other().role(name);
            if let Some(known) = truth.roles.get_mut(&former) {
                *known = LOCKED.to_owned();
            }
            Ok(())
        })
    }

    async fn remove_role(&self, name: &PreviewName) -> Result<(), Fault> {
        self.faults.run("databases.remove_role", || {
            let mut truth = self.truth.lock().unwrap();
            truth.roles.remove(&name.second_role());
            truth.roles.remove(&name.role());
            Ok(())
        })
    }

    async fn owned(&self) -> Result<Vec<PreviewName>, Fault> {
        self.faults.run("databases.owned", || {
            let truth = self.truth.lock().unwrap();
            let mut names: Vec<_> = truth.databases.keys().chain(truth.roles.keys()).collect();
            names.sort();
            let read = |name: &String| match ComponentName::parse_database(name) {
                Some((preview, _)) => Some(preview),
                None => PreviewName::parse_role(name),
            };
            let mut names: Vec<_> = names.into_iter().filter_map(read).collect();
            names.sort();
            names.dedup();
            Ok(names)
        })
    }

    fn major_version(&self) -> Seen<u32> {
        Seen::Present(17)
    }

    fn url(&self, name: &PreviewName, password: &Password) -> String {
        let role = password.login().role(name);
        format!("postgres://{role}:{}@fake/{}", password.reveal(), name.database())
    }
    fn component_url(
        &self,
        name: &PreviewName,
        password: &Password,
        component: &ComponentName,
    ) -> String {
        let own = self.url(name, password);
        format!("{}{}", own.strip_suffix(&name.database()).unwrap(), component.database(name))
    }
}
