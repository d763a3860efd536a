//! The client as its users meet it: the main job, its answers to mistakes, and what is linked in.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so and ends"
)]

mod connections;
mod destinations;
mod features;
mod flaky;
mod load;
mod mistakes;
mod readme;
mod registration;
mod status;
mod unparsed;

use std::path::Path;

use arrowload::{Client, Connections};

/// A client over a folder, deaf to the machine's own configuration.
pub(crate) async fn client(folder: &Path) -> Client {
    let connections = Connections::builder()
        .no_config_file()
        .environment([])
        .build()
        .expect("no layers");
    let source = format!("datafusion://{}", folder.display());
    Client::builder()
        .connections(connections)
        .source(source)
        .connect()
        .await
        .expect("the embedded engine is there")
}

/// A folder's file, as it is named in targets.
pub(crate) fn file(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}
