//! A policy that is well at some times only. A plugin is a function of what it is given, so it goes by
//! the time it is told: in every other half second it traps, and in the rest it allows everything.

use std::time::Duration;

use agent_relay::domain::control::{Context, Decision};
use agent_relay::plugins::Plugins;
use wit_parser::{Resolve, SizeAlign, Type};

use super::{context, dummies, spawn};

/// How long it is well, and then how long it is not.
pub(super) const HALF: Duration = Duration::from_millis(500);
/// Times, in milliseconds since the epoch, at which it is well and is not.
const WELL: i64 = 0;
const UNWELL: i64 = HALF.as_millis() as i64;

/// The component. It calls itself `guard`.
pub(super) fn component() -> Vec<u8> {
    let (resolve, world) = dummies::world("policy-plugin", str::to_owned, &[]);
    let text =
        TEXT.replace("OFFSET", &offset_of_now(&resolve).to_string()).replace("HALF", &HALF.as_millis().to_string());
    dummies::encode(wat::parse_str(text).expect("good text"), &resolve, world)
}

/// Asks at a time of the test's choice: nothing but a probe asks by the clock.
pub(super) async fn decide(plugins: &Plugins, well: bool) -> Decision {
    let context = Context { now: if well { WELL } else { UNWELL }, ..context() };
    plugins.current().decide(spawn(""), &context).await
}

/// Where `decide` finds `context.now-ms` among its parameters, which are too many for registers.
fn offset_of_now(resolve: &Resolve) -> usize {
    let mut sizes = SizeAlign::default();
    sizes.fill(resolve).expect("the interface has sizes");
    let (_, policy) = resolve.interfaces.iter().find(|(_, it)| it.name.as_deref() == Some("policy")).expect("a policy");
    let parameters: Vec<Type> = policy.functions["decide"].params.iter().map(|parameter| parameter.ty).collect();
    let (context, _) = sizes.field_offsets(&parameters)[1];
    let Type::Id(id) = parameters[1] else { panic!("the context is a record") };
    let wit_parser::TypeDefKind::Record(record) = &resolve.types[id].kind else { panic!("the context is a record") };
    let place = record.fields.iter().position(|field| field.name == "now-ms").expect("the time is there");
    let fields: Vec<Type> = record.fields.iter().map(|field| field.ty).collect();
    context.size_wasm32() + sizes.field_offsets(&fields)[place].0.size_wasm32()
}

/// Written by hand, because no compiler for WebAssembly is at hand where tests run.
const TEXT: &str = r#"
(module
  (memory (export "memory") 2)
  (data (i32.const 16) "guard")
  (data (i32.const 32) "1.0.0")
  ;; The description: id, version, the one kind of control at 48 (a spawn is 0), no extension.
  (data (i32.const 64) "\10\00\00\00\05\00\00\00\20\00\00\00\05\00\00\00\30\00\00\00\01\00\00\00")
  (global $top (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $wanted i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and
      (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $top (i32.add (local.get $at) (local.get $wanted)))
    (local.get $at))
  (func (export "agent-relay:plugin/policy@0.1.0#describe") (result i32) (i32.const 64))
  ;; Zeros are the answers `ok` and `ok(allow)`.
  (func (export "agent-relay:plugin/policy@0.1.0#check-settings") (param i32 i32) (result i32) (i32.const 128))
  (func (export "agent-relay:plugin/policy@0.1.0#decide") (param $parameters i32) (result i32)
    (if (i32.wrap_i64 (i64.rem_u
          (i64.div_u (i64.load offset=OFFSET (local.get $parameters)) (i64.const HALF))
          (i64.const 2)))
      (then unreachable))
    (i32.const 128)))
"#;
