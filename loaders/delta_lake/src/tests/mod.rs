//! Tests that decide what becomes of each call of a table's store: `faulty://name` is a table in such a store.

mod aftermath;
mod faults;
mod leases;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use arrowload_testkit::{Fate, FaultyStore, StoreCall};
use deltalake::logstore::{StorageConfig, default_logstore};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::place::Place;

/// The tables that tests have made.
static TABLES: LazyLock<Mutex<HashMap<String, Ruled>>> = LazyLock::new(Mutex::default);

#[derive(Clone)]
struct Ruled {
    store: Arc<dyn ObjectStore>,
    url: Url,
    local: Option<PathBuf>,
}

impl Ruled {
    fn add(self, name: &str) {
        let mut tables = TABLES.lock().expect("no test panics with it");
        tables.insert(name.to_owned(), self);
    }
}

/// Makes `faulty://name` a table in this store.
fn register(name: &str, store: impl ObjectStore) {
    let ruled = Ruled {
        store: Arc::new(store),
        url: Url::parse(&format!("memory:///{name}")).expect("a URL"),
        local: None,
    };
    ruled.add(name);
}

/// Makes `faulty://name` the table `name` in this folder, whose store is ruled. `local` says whether the loader takes it for
/// a local table, or for one in an object store.
fn register_folder(
    name: &str,
    folder: &std::path::Path,
    local: bool,
    rule: impl Fn(&StoreCall<'_>) -> Fate + Send + Sync + 'static,
) {
    let path = folder.join(name);
    let ruled = Ruled {
        store: Arc::new(FaultyStore::new(Arc::new(LocalFileSystem::new()), rule)),
        url: Url::from_directory_path(&path).expect("an absolute path"),
        local: local.then_some(path),
    };
    ruled.add(name);
}

/// The place of a table, by its name.
pub(crate) fn place(name: &str) -> Place {
    let table = TABLES.lock().expect("no test panics with it")[name].clone();
    let path = Path::from_url_path(table.url.path()).expect("a path");
    let prefixed = Arc::new(PrefixStore::new(Arc::clone(&table.store), path));
    let config = StorageConfig::default();
    Place {
        log_store: default_logstore(prefixed, table.store, &table.url, &config),
        local: table.local,
    }
}
