// Reads JSON, such as the operator's settings. Every function takes what it is named after and answers true, or takes
// nothing and answers false; none looks beyond the end of the text, whatever it holds.
//
//     json in = json_of(settings->ptr, settings->len);
//     json_text key, program;
//     bool first = true, quiet;
//     if (!json_mark(&in, '{')) return false;
//     while (json_key(&in, &first, &key)) {
//         bool taken = json_is(key, "program") ? json_string(&in, &program)
//                    : json_is(key, "quiet")   ? json_bool(&in, &quiet)
//                                              : json_skip(&in);
//         if (!taken) return false;
//     }
//     return json_mark(&in, '}') && json_ended(&in);
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// How deep lists and objects may lie in each other where they are skipped.
enum { JSON_DEPTH_MAX = 32 };

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} json;

// A piece of the text, not terminated.
typedef struct {
    const uint8_t *ptr;
    size_t len;
} json_text;

static inline json json_of(const uint8_t *ptr, size_t len) {
    return (json){ptr, ptr + len};
}

// Whether a piece is this word.
static inline bool json_is(json_text piece, const char *word) {
    return strlen(word) == piece.len && memcmp(word, piece.ptr, piece.len) == 0;
}

static inline void json_spaces(json *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')) {
        in->at++;
    }
}

// Takes one punctuation mark, with the spaces before it.
static inline bool json_mark(json *in, uint8_t mark) {
    json_spaces(in);
    bool there = in->at < in->end && *in->at == mark;
    in->at += there;
    return there;
}

static inline bool json_ended(json *in) {
    json_spaces(in);
    return in->at == in->end;
}

static inline bool json_hex(json *in, uint32_t *out) {
    *out = 0;
    if (in->end - in->at < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++, in->at++) {
        uint8_t digit = *in->at;
        uint32_t value = digit >= '0' && digit <= '9'   ? (uint32_t)(digit - '0')
                         : digit >= 'a' && digit <= 'f' ? (uint32_t)(digit - 'a' + 10)
                         : digit >= 'A' && digit <= 'F' ? (uint32_t)(digit - 'A' + 10)
                                                        : 16;
        if (value == 16) {
            return false;
        }
        *out = *out * 16 + value;
    }
    return true;
}

// Takes what follows a backslash, and writes it as UTF-8: at most four bytes.
static inline bool json_escape(json *in, uint8_t *to, size_t *len) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (in->at == in->end) {
        return false;
    }
    uint8_t name = *in->at++;
    for (size_t i = 0; names[i]; i++) {
        if (name == (uint8_t)names[i]) {
            to[(*len)++] = (uint8_t)values[i];
            return true;
        }
    }
    uint32_t code, low;
    if (name != 'u' || !json_hex(in, &code)) {
        return false;
    }
    if (code >= 0xD800 && code < 0xDC00) {
        if (in->end - in->at < 2 || in->at[0] != '\\' || in->at[1] != 'u') {
            return false;
        }
        in->at += 2;
        if (!json_hex(in, &low) || low < 0xDC00 || low > 0xDFFF) {
            return false;
        }
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
        return false;
    }
    if (code < 0x80) {
        to[(*len)++] = (uint8_t)code;
        return true;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xC0, 0xE0, 0xF0};
    to[(*len)++] = (uint8_t)(lead[more] | code >> (6 * more));
    while (more--) {
        to[(*len)++] = (uint8_t)(0x80 | (code >> (6 * more) & 0x3F));
    }
    return true;
}

// Takes a string. One without an escape is the piece of the text; one with escapes is in memory of its own.
static inline bool json_string(json *in, json_text *out) {
    json rest = *in;
    if (!json_mark(&rest, '"')) {
        return false;
    }
    const uint8_t *begin = rest.at;
    while (rest.at < rest.end && *rest.at != '"' && *rest.at != '\\') {
        rest.at++;
    }
    out->ptr = begin;
    out->len = (size_t)(rest.at - begin);
    if (rest.at < rest.end && *rest.at == '\\') {
        // No escape is shorter than what it stands for.
        uint8_t *own = malloc((size_t)(rest.end - begin));
        if (!own) {
            abort();
        }
        memcpy(own, begin, out->len);
        out->ptr = own;
        while (rest.at < rest.end && *rest.at != '"') {
            uint8_t byte = *rest.at++;
            if (byte != '\\') {
                own[out->len++] = byte;
            } else if (!json_escape(&rest, own, &out->len)) {
                return false;
            }
        }
    }
    if (rest.at == rest.end) {
        return false;
    }
    rest.at++;
    *in = rest;
    return true;
}

// Takes a bare word: `true`, `false` or `null`.
static inline bool json_word(json *in, const char *word) {
    json rest = *in;
    json_spaces(&rest);
    size_t len = strlen(word);
    if ((size_t)(rest.end - rest.at) < len || memcmp(rest.at, word, len) != 0) {
        return false;
    }
    rest.at += len;
    *in = rest;
    return true;
}

static inline bool json_bool(json *in, bool *out) {
    if (json_word(in, "true")) {
        *out = true;
        return true;
    }
    if (json_word(in, "false")) {
        *out = false;
        return true;
    }
    return false;
}

// Takes a whole number of 0 to `max`.
static inline bool json_number(json *in, uint32_t max, uint32_t *out) {
    json rest = *in;
    json_spaces(&rest);
    const uint8_t *begin = rest.at;
    uint64_t number = 0;
    while (rest.at < rest.end && *rest.at >= '0' && *rest.at <= '9' && number <= max) {
        number = number * 10 + (uint64_t)(*rest.at++ - '0');
    }
    size_t digits = (size_t)(rest.at - begin);
    bool leading_zero = digits > 1 && *begin == '0';
    bool goes_on = rest.at < rest.end && (*rest.at == '.' || *rest.at == 'e' || *rest.at == 'E');
    if (digits == 0 || leading_zero || goes_on || number > max) {
        return false;
    }
    *out = (uint32_t)number;
    *in = rest;
    return true;
}

// Walks an object: the next key, with its colon, or `false` at the end or where it is malformed,
// which `json_ended` tells apart once the object's closing brace is taken. `first` is the caller's
// and begins as true.
static inline bool json_key(json *in, bool *first, json_text *key) {
    json rest = *in;
    if (!*first && !json_mark(&rest, ',')) {
        return false;
    }
    if (!json_string(&rest, key) || !json_mark(&rest, ':')) {
        return false;
    }
    *first = false;
    *in = rest;
    return true;
}

// Walks a list, once its bracket is taken: whether there is a next element, which stands there to be taken. `first` is
// the caller's and begins as true. The closing bracket is left.
static inline bool json_item(json *in, bool *first) {
    json rest = *in;
    json_spaces(&rest);
    if (rest.at == rest.end || *rest.at == ']' || (!*first && !json_mark(&rest, ','))) {
        return false;
    }
    *first = false;
    *in = rest;
    return true;
}

// Takes a number of any form, without its value.
static inline bool json_any_number(json *in) {
    json rest = *in;
    json_spaces(&rest);
    const uint8_t *begin = rest.at;
    while (rest.at < rest.end && ((*rest.at >= '0' && *rest.at <= '9') || *rest.at == '-' || *rest.at == '+' ||
                                  *rest.at == '.' || *rest.at == 'e' || *rest.at == 'E')) {
        rest.at++;
    }
    if (rest.at == begin) {
        return false;
    }
    *in = rest;
    return true;
}

static inline bool json_skip_within(json *in, int depth) {
    json rest = *in;
    json_text text;
    bool first = true;
    if (json_mark(&rest, '{')) {
        if (depth == 0) {
            return false;
        }
        while (json_key(&rest, &first, &text)) {
            if (!json_skip_within(&rest, depth - 1)) {
                return false;
            }
        }
        if (!json_mark(&rest, '}')) {
            return false;
        }
    } else if (json_mark(&rest, '[')) {
        if (depth == 0) {
            return false;
        }
        while (json_item(&rest, &first)) {
            if (!json_skip_within(&rest, depth - 1)) {
                return false;
            }
        }
        if (!json_mark(&rest, ']')) {
            return false;
        }
    } else if (!json_string(&rest, &text) && !json_word(&rest, "true") && !json_word(&rest, "false") &&
               !json_word(&rest, "null") && !json_any_number(&rest)) {
        return false;
    }
    *in = rest;
    return true;
}

// Takes a value of any kind, at most JSON_DEPTH_MAX deep.
static inline bool json_skip(json *in) {
    return json_skip_within(in, JSON_DEPTH_MAX);
}

#endif
