//! Looking for a directory in which to start an agent, and at nothing else.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::server::Server;

#[tokio::test]
async fn only_directories_below_the_base_are_shown() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().canonicalize().expect("the directory");
    let base = path.join("base");
    for folder in ["base/b/inner", "base/a b", "base/.hidden", "outside/secret", "base-evil", "data"] {
        fs::create_dir_all(path.join(folder)).expect("a folder");
    }
    fs::write(base.join("file"), "").expect("a file");
    symlink(path.join("outside"), base.join("link")).expect("a link");
    symlink("nowhere", base.join("dangling")).expect("a link");
    let server = Server::start_in(home, |config| config.base_dir.clone_from(&base)).await;
    let client = &server.client;
    let list = async |asked: &str| client.get(&format!("/api/agents/spawn/directories?path={asked}")).await;
    let listing: Value = client.get("/api/agents/spawn/directories").await.expect(200);
    assert_eq!((&listing["path"], &listing["cwd"], &listing["parent"]), (&json!(base), &json!(base), &Value::Null));
    assert!(listing["home"].is_string());
    let names: Vec<&Value> =
        listing["entries"].as_array().expect("a list").iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names[..2], ["a b", "b"], "sorted, hidden ones and files left out");
    assert_eq!(listing["entries"][1]["path"], json!(base.join("b")));
    assert!(names[2..].iter().all(|name| *name == "link"), "{names:?}");

    for asked in ["b", "b/", "./b", "b/inner/..", &base.join("b").display().to_string()] {
        let listing: Value = list(asked).await.expect(200);
        assert_eq!((&listing["path"], &listing["parent"]), (&json!(base.join("b")), &json!(base)), "{asked}");
        assert_eq!(listing["entries"], json!([{"name": "inner", "path": base.join("b/inner")}]));
    }
    for asked in ["nowhere", "file", "dangling", "b/../nowhere"] {
        list(asked).await.invalid("path is not a directory");
    }
    let evil = path.join("base-evil").display().to_string();
    for asked in
        ["/", "/etc", "..", "../outside", "../nowhere", "b/../../outside", "link", "link/secret", "link/..", &evil]
    {
        let problem = list(asked).await.problem(403, "outside_base_directory");
        assert_eq!(
            problem["detail"],
            json!(format!("path must be within base directory: {}", base.display())),
            "{asked}"
        );
    }
    list(&"x".repeat(501)).await.invalid("path must have at most 500 characters");
}
