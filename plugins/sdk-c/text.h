// Puts a text together, for a reason or an error.
#ifndef TEXT_H
#define TEXT_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy_plugin.h"

typedef struct {
    uint8_t *ptr;
    size_t len;
    size_t room;
} text;

static inline void text_bytes(text *to, const void *bytes, size_t len) {
    if (len > to->room - to->len) {
        // Doubled, so that a long text is not copied for every piece of it.
        size_t room = (to->len + len) * 2;
        to->ptr = realloc(to->ptr, room);
        if (!to->ptr) {
            abort();
        }
        to->room = room;
    }
    memcpy(to->ptr + to->len, bytes, len);
    to->len += len;
}

static inline void text_add(text *to, const char *words) {
    text_bytes(to, words, strlen(words));
}

static inline void text_number(text *to, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    text_bytes(to, digits + at, sizeof digits - at);
}

// In quotation marks, with those inside escaped.
static inline void text_quoted(text *to, const uint8_t *ptr, size_t len) {
    text_add(to, "\"");
    for (size_t i = 0; i < len; i++) {
        if (ptr[i] == '"' || ptr[i] == '\\') {
            text_add(to, "\\");
        }
        text_bytes(to, ptr + i, 1);
    }
    text_add(to, "\"");
}

// Hands it over to the bindings.
static inline policy_plugin_string_t text_done(text from) {
    return (policy_plugin_string_t){from.ptr, from.len};
}

#endif
