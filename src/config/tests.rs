//! What the operator may write, and what comes of it.

use std::path::Path;

use super::*;
use crate::domain::control::PolicyMode;

/// A home directory, and what `load` makes of flags, variables and a file there.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn env(&self, variables: &[(&str, &str)]) -> Environment {
        let home = ("HOME", self.path().to_str().unwrap());
        std::iter::once(home).chain(variables.iter().copied()).collect()
    }

    fn load(&self, flags: &Flags, variables: &[(&str, &str)], file: &str) -> Result<Config, ConfigError> {
        let path = self.path().join("relay.toml");
        std::fs::write(&path, file).unwrap();
        let flags = Flags { config: Some(path), ..flags.clone() };
        Config::load(&flags, &self.env(variables))
    }

    fn ok(&self, variables: &[(&str, &str)], file: &str) -> Config {
        self.load(&Flags::default(), variables, file).unwrap()
    }

    /// The error, with this home directory's name replaced.
    fn refused(&self, variables: &[(&str, &str)], file: &str) -> String {
        let error = self.load(&Flags::default(), variables, file).unwrap_err().to_string();
        error.replace(self.path().to_str().unwrap(), "HOME")
    }
}

const EXAMPLE: &str = include_str!("../../examples/relay.toml");

#[test]
fn the_example_lists_the_defaults() {
    let home = Home::new();
    let defaults = Config::load(&Flags::default(), &home.env(&[])).unwrap();
    let show = |config: &Config| format!("{config:#?}").replace(home.path().to_str().unwrap(), "HOME");
    let shown = show(&defaults);
    assert_eq!(show(&home.ok(&[], EXAMPLE)), shown);
    insta::assert_snapshot!("defaults", shown);
}

/// What serde would have allowed in origin of a key that does not exist is the list of all keys.
#[test]
fn the_example_lists_every_key() {
    let home = Home::new();
    let sections = [
        "",
        "agents",
        "events",
        "messages",
        "commands",
        "limits",
        "callbacks",
        "integrations.x",
        "plugins",
        "plugin.x",
        "plugin.x.grants",
        "plugin.x.limits",
        "spawn",
        "log",
    ];
    let mut keys = 0;
    for section in sections {
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let error = home.refused(&[], &format!("{header}zzz = 1"));
        assert!(error.contains("unknown key `zzz`"), "{error}");
        let (_, allowed) = error.split_once("expected").unwrap();
        for key in allowed.split('`').skip(1).step_by(2) {
            keys += 1;
            let known = EXAMPLE.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                let sub = section.strip_prefix("plugin.x.").unwrap_or("").to_owned() + ".";
                line.starts_with(&format!("{key} = "))
                    || line.starts_with(&format!("[{key}"))
                    || line.starts_with(&format!("{key}."))
                    || line.starts_with(&format!("{sub}{key} = "))
            });
            assert!(known, "examples/relay.toml does not show `{key}` of [{section}]");
        }
    }
    assert!(keys > 40, "only {keys} keys were found, so this test no longer reads the errors");
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let home = Home::new();
    let file = "listen = \"127.0.0.1:1\"\ndata_dir = \"/file\"\n[log]\nlevel = \"warn\"";
    let variables = [("AGENT_RELAY_LISTEN", "127.0.0.1:2"), ("AGENT_RELAY_LOG", "debug")];
    let flags = Flags { listen: Some("127.0.0.1:3".into()), ..Flags::default() };
    let config = home.load(&flags, &variables, file).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.log.filter, telemetry::Filter::parse("debug").unwrap());
    assert_eq!(config.data_dir, Path::new("/file"));
    assert_eq!(config.plugins.directory.unwrap(), Path::new("/file/plugins"));
    assert_eq!(home.ok(&variables, file).listen.port(), 2);
    assert_eq!(home.ok(&[], file).listen.port(), 1);
    assert_eq!(home.ok(&[], "").listen, LISTEN_DEFAULT);
}

#[test]
fn host_and_port_each_replace_their_half_unless_the_address_is_given() {
    let home = Home::new();
    let file = "listen = \"127.0.0.9:77\"";
    assert_eq!(home.ok(&[("PORT", "5")], file).listen.to_string(), "127.0.0.9:5");
    assert_eq!(home.ok(&[("HOST", "::1")], file).listen.to_string(), "[::1]:77");
    assert_eq!(home.ok(&[("HOST", "localhost"), ("PORT", "0")], "").listen.to_string(), "127.0.0.1:0");
    let both = [("HOST", "x86_64-conda-linux-gnu"), ("AGENT_RELAY_LISTEN", "localhost:9")];
    assert_eq!(home.ok(&both, file).listen.to_string(), "127.0.0.1:9");
    // A variable set to nothing is a variable not set.
    assert_eq!(home.ok(&[("PORT", " "), ("AGENT_RELAY_LISTEN", "")], file).listen.port(), 77);
}

#[test]
fn the_data_directory_follows_xdg() {
    let home = Home::new();
    assert_eq!(home.ok(&[("XDG_DATA_HOME", "/xdg")], "").data_dir, Path::new("/xdg/agent-relay"));
    let relative = home.ok(&[("XDG_DATA_HOME", "xdg")], "").data_dir;
    assert_eq!(relative, home.path().join(".local/share/agent-relay"));
}

#[test]
fn paths_in_the_file_start_where_it_lies() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("work")).unwrap();
    let config = home.ok(&[], "data_dir = \"data\"\nbase_dir = \"work\"\nroots = [\"~/a\", \"/b\"]");
    assert_eq!(config.data_dir, home.path().join("data"));
    assert_eq!(config.base_dir, home.path().join("work"));
    assert_eq!(config.roots, [home.path().join("a"), "/b".into()]);
}

#[test]
fn only_a_token_opens_other_addresses() {
    let home = Home::new();
    for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
        let error = home.refused(&[("AGENT_RELAY_LISTEN", address)], "");
        assert!(error.starts_with("AGENT_RELAY_LISTEN: ") && error.contains("AGENT_RELAY_TOKEN"), "{error}");
        home.ok(&[("AGENT_RELAY_LISTEN", address), ("AGENT_RELAY_TOKEN", "t")], "");
    }
    for address in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        home.ok(&[("AGENT_RELAY_LISTEN", address)], "");
    }
    let error = home.refused(&[("HOST", "0.0.0.0")], "");
    assert!(error.starts_with("HOST: "), "{error}");
}

#[test]
fn a_token_comes_from_one_place_and_never_prints() {
    let home = Home::new();
    std::fs::write(home.path().join("secret"), "from-file\n").unwrap();
    let token = |variables: &[(&str, &str)], file: &str| home.ok(variables, file).token.unwrap();
    assert_eq!(token(&[], "token_file = \"secret\"").expose(), "from-file");
    assert_eq!(token(&[("AGENT_RELAY_TOKEN", "env")], "token = \"file\"").expose(), "env");
    assert!(!format!("{:?}", home.ok(&[], "token = \"hush\"")).contains("hush"));

    let both = home.refused(&[], "token = \"hush\"\ntoken_file = \"secret\"");
    let number = home.refused(&[], "token = 8472914");
    let spaced = home.refused(&[("AGENT_RELAY_TOKEN", "hush hush")], "");
    let broken = home.refused(&[], "token = \"hush\nlisten = 3");
    for error in [&both, &number, &spaced, &broken] {
        assert!(!error.contains("hush") && !error.contains("8472914"), "{error}");
    }
}

#[test]
fn what_is_said_about_a_plugin_reaches_it() {
    let home = Home::new();
    let config = home.ok(
        &[],
        "[plugin.workdir]\norder = -5\nmode = \"monitor\"\ngrants.env = [\"A\"]\nlimits.memory_mb = 12\n\
         [plugin.workdir.settings]\nmax = 5\nnested = { a = [1, 2.5] }",
    );
    let workdir = &config.plugins.plugins["workdir"];
    assert_eq!((workdir.order, workdir.mode), (Some(-5), Some(PolicyMode::Monitor)));
    assert_eq!((workdir.limits.memory_mb, workdir.limits.deadline_ms), (Some(12), None));
    assert_eq!(workdir.grants.env.as_deref(), Some(&["A".to_owned()][..]));
    assert_eq!((workdir.grants.executables.as_ref(), workdir.enabled), (None, None));
    assert_eq!(workdir.settings["nested"]["a"][1].as_float(), Some(2.5));
}

/// The sections that the example shows, taken as they stand there without their comment signs.
#[test]
fn the_integrations_of_the_example_are_taken() {
    let home = Home::new();
    let shown = EXAMPLE.lines().skip_while(|line| !line.starts_with("# [integrations."));
    let shown = shown.take_while(|line| !line.starts_with('[')).filter_map(|line| line.strip_prefix("# "));
    let shown: Vec<_> = shown.collect();
    let config = home.ok(&[], &shown.join("\n"));
    let schemes = config.integrations.iter().map(|(name, scheme)| (name.to_string(), scheme.kind().as_str()));
    let wanted = [("build", "hmac"), ("grafana", "standard-webhooks"), ("issues", "github"), ("repo", "github")];
    assert_eq!(schemes.collect::<Vec<_>>(), wanted.map(|(name, kind)| (name.to_owned(), kind)));
    assert!(!format!("{config:?}").contains("whsec_"));
}

#[test]
fn integrations_are_not_without_end() {
    let home = Home::new();
    let sections =
        |count| (0..count).map(|n| format!("[integrations.n{n}]\ngithub_secret = \"s\"\n")).collect::<String>();
    assert_eq!(home.ok(&[], &sections(64)).integrations.iter().count(), 64);
    assert!(home.refused(&[], &sections(65)).contains("at most 64"));
}

/// Each refusal names its origin, what is wrong with it, and what is allowed.
#[test]
fn refusals() {
    let home = Home::new();
    let file = |text: &str| home.refused(&[], text);
    let variable = |name: &str, value: &str| home.refused(&[(name, value)], "");
    let refusals = [
        file("[agents]\noffline_after = 3"),
        file("lisen = \"127.0.0.1:1\""),
        file("listen = 4850"),
        file("listen = \"4850\""),
        file("[agents]\noffline_after_s = 0"),
        file("[limits]\nstreams = -1"),
        file("[spawn]\ntmux = \"always\""),
        file("[spawn]\nrelay_url = \"relay:4850\""),
        file("[log]\nlevel = \"loud\""),
        file("[integrations.\"a b\"]\nsecret = \"whsec_x\""),
        file("[integrations.x]"),
        file("[integrations.x]\nadapter = \"github\""),
        file("[integrations.x]\nscheme = \"gitlab\"\nsecret = \"s\""),
        file("[integrations.x]\nsecret = \"whsec_hush\""),
        file("[integrations.x]\nsecret = []"),
        file("[integrations.x]\nsecret = [7]"),
        file("[integrations.x]\nscheme = \"github\"\nsecret = \" \""),
        file("[integrations.x]\nsecret = \"s\"\ngithub_secret = \"s\""),
        file("[integrations.x]\nscheme = \"hmac\"\ngithub_secret = \"s\""),
        file("[integrations.x]\ngithub_secret = \"s\"\nheader = \"x-sig\""),
        file("[integrations.x]\nscheme = \"hmac\"\nsecret = \"s\""),
        file("[integrations.x]\nscheme = \"hmac\"\nsecret = \"s\"\nheader = \"x sig\""),
        file("[integrations.x]\nscheme = \"hmac\"\nsecret = \"s\"\nheader = \"Authorization\""),
        file("[integrations.x]\nscheme = \"hmac\"\nsecret = \"s\"\nheader = \"x-sig\"\nalgorithm = \"md5\""),
        file("[integrations.x]\nscheme = \"hmac\"\nsecret = \"s\"\nheader = \"x-sig\"\nencoding = \"base32\""),
        file("[integrations.x]\nscheme = \"hmac\"\nsecret = \"s\"\nheader = \"x-sig\"\nprefix = \"a b\""),
        file("base_dir = \"nowhere\""),
        file("token_file = \"nowhere\""),
        file("data_dir = \" \""),
        file("[callbacks]\nallow = [\"localhost\"]"),
        file("[callbacks]\nallow = [\"10.0.0.1\"]"),
        file("[callbacks]\nsecret = \"whsec_c2hvcnQ=\""),
        file("[callbacks]\nsecret = [\"hunter2\"]"),
        file("[callbacks]\nsecret = []"),
        file("[callbacks]\nsecret = 7"),
        file("[plugin.Bad_Id]\nenabled = true"),
        file("[plugin.x]\nlimits.deadline_ms = 0"),
        file("[plugin.x]\nmode = \"strict\""),
        file("[plugin.x]\ngrants.files = true"),
        file("[plugin.x]\npublic_key = \"RWnonsense\""),
        file("[plugins]\nrequired = [\"no such id\"]"),
        file("[[["),
        variable("AGENT_RELAY_LISTEN", "nonsense"),
        variable("PORT", "70000"),
        variable("HOST", "example.org"),
        variable("AGENT_RELAY_LOG", "loud"),
        variable("AGENT_RELAY_BASE_DIR", "/nowhere/at/all"),
        variable("AGENT_RELAY_SPAWN_DRY_RUN", "yes"),
        variable("AGENT_RELAY_SPAWN_RELAY_URL", "http://user:pass@127.0.0.1:1"),
    ];
    insta::assert_snapshot!("refusals", refusals.join("\n"));
}

#[test]
fn callbacks_may_be_signed_with_one_secret_or_several() {
    let home = Home::new();
    let secret = |byte: &str| format!("\"whsec_{}\"", byte.repeat(32));
    let signed = |secrets: &str| home.ok(&[], &format!("[callbacks]\nsecret = {secrets}")).callbacks.secrets;
    let (one, other) = (secret("A"), secret("B"));
    assert_eq!(signed(&one), signed(&format!("[{one}]")));
    let both = signed(&format!("[{one}, {other}]"));
    assert_eq!(both, [signed(&one), signed(&other)].concat());
    assert_eq!(home.ok(&[], "[callbacks]\nallow = [\"127.0.0.1/32\", \"fd00::/8\"]").callbacks.secrets, []);
}

#[test]
fn a_missing_home_names_the_way_out() {
    let error = Config::load(&Flags::default(), &Environment::default()).unwrap_err().to_string();
    assert!(error.starts_with("HOME: ") && error.contains("--data-dir"), "{error}");
}
