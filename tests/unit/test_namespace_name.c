/*
 * Proves that every key becomes the name of a directory that is safe and, as far as it can be, the key
 * itself; and that attempts differ.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "broker/namespace_name.h"

TestSuite(namespace_name);

Test(namespace_name, each_character_that_is_not_safe_becomes_one_underscore)
{
    static const struct {
        const char *key;
        const char *name;
    } cases[] = {
        {"default", "default"},
        {"Orders-2024_v1.5", "Orders-2024_v1.5"},
        {"a/b", "a_b"},
        {"a b\tc\nd", "a_b_c_d"},
        {"../../etc/passwd", ".._.._etc_passwd"},
        {"...", "..."},
        {".hidden", ".hidden"},
        {"-rf", "-rf"},
        {"a~removed", "a_removed"},
        {"Zürich", "Z_rich"},        /* two bytes */
        {"日本x", "__x"},            /* three */
        {"\xf0\x9f\x98\x80y", "_y"}, /* four */
        {"\xc3", "ns_"},             /* cut: one byte, and nothing else is left */
        {"a\xc3", "a_"},
        {"a\xe6\x97", "a__"}, /* cut: each byte alone */
        {"a\x80\xbf", "a__"}, /* continuations of nothing */
        {"a\xc0\xaf", "a__"}, /* longer than it needs to be */
        {"a\xe0\x80\xaf", "a___"},
        {"a\xed\xa0\x80", "a___"},      /* half of a surrogate pair */
        {"a\xf4\x90\x80\x80", "a____"}, /* beyond the last character */
        {"a\xff\xfe", "a__"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct namespace_name name = namespace_name(cases[i].key, strlen(cases[i].key), 0);
        const size_t length = strcmp(cases[i].name, "ns_") == 0 ? 3 : sizeof name.text;
        cr_expect_eq(strncmp(name.text, cases[i].name, length), 0, "%s: got %s", cases[i].key,
                     name.text);
    }
}

/* "ns_" and 16 digits. */
static void expect_hash(const char *key, size_t bytes)
{
    const struct namespace_name name = namespace_name(key, bytes, 0);
    cr_expect_eq(strlen(name.text), 19, "got %s", name.text);
    cr_expect_eq(strncmp(name.text, "ns_", 3), 0, "got %s", name.text);
    cr_expect_eq(strspn(name.text + 3, "0123456789abcdef"), 16, "got %s", name.text);
}

Test(namespace_name, what_would_be_nothing_dots_or_too_long_is_a_hash)
{
    char key[1024];
    expect_hash("_", 1);
    expect_hash("___", 3);
    expect_hash("//", 2);
    expect_hash("ä", 2);
    expect_hash(".", 1);
    expect_hash("..", 2);
    memset(key, 'k', sizeof key);
    expect_hash(key, 201);
    expect_hash(key, sizeof key);
    cr_expect_eq(strlen(namespace_name(key, 200, 0).text), 200);
    cr_expect_neq(strcmp(namespace_name(key, 201, 0).text, namespace_name(key, 202, 0).text), 0);
    /* Characters count by what they become: 200 of two bytes each are not too long. */
    for (int i = 0; i < 400; i += 2) {
        memcpy(key + i, "ä", 2);
    }
    key[0] = 'x';
    key[1] = 'y';
    cr_expect_eq(strlen(namespace_name(key, 398, 0).text), 200);
    expect_hash(key, 400);
}

Test(namespace_name, attempts_make_different_names_and_the_same_ones_each_time)
{
    char key[1024];
    memset(key, 'k', sizeof key);
    static const size_t lengths[] = {1, 5, 200, 201, 1024};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct namespace_name names[4];
        for (unsigned attempt = 0; attempt < 4; attempt++) {
            names[attempt] = namespace_name(key, lengths[i], attempt);
            const struct namespace_name again = namespace_name(key, lengths[i], attempt);
            cr_expect_eq(strcmp(names[attempt].text, again.text), 0);
            cr_expect_leq(strlen(names[attempt].text), NAMESPACE_NAME_BYTES_MAX);
            for (unsigned before = 0; before < attempt; before++) {
                cr_expect_neq(strcmp(names[attempt].text, names[before].text), 0);
            }
        }
    }
    /* Two keys of one name have different second names. */
    cr_expect_neq(strcmp(namespace_name("a/b", 3, 1).text, namespace_name("a:b", 3, 1).text), 0);
}
