// The little of a C library that bindings/ needs. An instance lives for one call, so memory is only
// ever handed out.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern unsigned char __heap_base;
static uintptr_t top;

void *malloc(size_t size) {
    if (top == 0) {
        top = (uintptr_t)&__heap_base;
    }
    uintptr_t start = (top + 15) & ~(uintptr_t)15;
    uintptr_t end = start + size;
    uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
    if (end < start) {
        return NULL;
    }
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + 0xffff) >> 16) == (size_t)-1) {
        return NULL;
    }
    top = end;
    return (void *)start;
}

void *realloc(void *old, size_t size) {
    void *new = malloc(size);
    // What lies behind the old block is copied as well, and is never outside of the memory: the new
    // block lies behind the old one.
    if (new != NULL && old != NULL) {
        memcpy(new, old, size);
    }
    return new;
}

void free(void *block) {
    (void)block;
}

void abort(void) {
    __builtin_trap();
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    unsigned char *t = to;
    const unsigned char *f = from;
    while (size-- > 0) {
        *t++ = *f++;
    }
    return to;
}

void *memset(void *to, int byte, size_t size) {
    unsigned char *t = to;
    while (size-- > 0) {
        *t++ = (unsigned char)byte;
    }
    return to;
}

int memcmp(const void *one, const void *other, size_t size) {
    const unsigned char *o = one, *p = other;
    for (; size > 0; size--, o++, p++) {
        if (*o != *p) {
            return *o - *p;
        }
    }
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != 0) {
        length++;
    }
    return length;
}

// The bindings refer to an object file that carries the world; `agent-relay plugin build` writes the
// world into the module instead.
void __component_type_object_force_link_WORLD(void) {}
