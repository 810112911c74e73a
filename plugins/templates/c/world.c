// The bindings refer to an object file that carries the world; `agent-relay plugin build` writes the
// world into the module instead.
void __component_type_object_force_link_WORLD(void) {}
