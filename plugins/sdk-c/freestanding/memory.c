// Memory for one call, and what else the compiler and the bindings expect of a C library.
//
// A libc made for WASI would do as well, but brings imports for files and clocks that no plugin is
// given. Every call runs in a fresh instance that is thrown away afterwards, so memory is only
// ever handed out.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Where the linker's data ends and free memory begins.
extern unsigned char __heap_base;

enum { PAGE = 65536, ALIGNMENT = 8 };

// Before each block: how large it is, which `realloc` has to know.
typedef struct {
    size_t size;
    size_t unused;
} header;

static uintptr_t next;

void *malloc(size_t size) {
    uintptr_t start = next ? next : (uintptr_t)&__heap_base;
    start = (start + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1);
    if (size > SIZE_MAX - start - sizeof(header) - PAGE) {
        return NULL;
    }
    uintptr_t end = start + sizeof(header) + size;
    uintptr_t have = __builtin_wasm_memory_size(0) * PAGE;
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + PAGE - 1) / PAGE) == SIZE_MAX) {
        return NULL;
    }
    next = end;
    ((header *)start)->size = size;
    return (void *)(start + sizeof(header));
}

void *realloc(void *block, size_t size) {
    size_t had = block ? ((header *)block - 1)->size : 0;
    if (block && size <= had) {
        return block;
    }
    void *moved = malloc(size);
    if (moved && had) {
        memcpy(moved, block, had);
    }
    return moved;
}

void free(void *block) {
    (void)block;
}

// Ends the call; the relay says that the plugin trapped.
_Noreturn void abort(void) {
    __builtin_trap();
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    unsigned char *target = to;
    const unsigned char *source = from;
    while (size--) {
        *target++ = *source++;
    }
    return to;
}

void *memset(void *to, int byte, size_t size) {
    unsigned char *target = to;
    while (size--) {
        *target++ = (unsigned char)byte;
    }
    return to;
}

int memcmp(const void *left, const void *right, size_t size) {
    const unsigned char *a = left, *b = right;
    for (; size; size--, a++, b++) {
        if (*a != *b) {
            return *a - *b;
        }
    }
    return 0;
}

size_t strlen(const char *text) {
    const char *end = text;
    while (*end) {
        end++;
    }
    return (size_t)(end - text);
}
