/*
 * Inspect: tusk-inspect accounts for every byte of stores that real brokers made, names what is
 * damaged, says what a start says, and changes nothing.
 * How:        brokers fill stores and stop or are killed; bytes and files of copies are changed, and
 *             each copy is given to tusk-inspect and then to a broker.
 * Not here:   every byte of a store (unit/test_inspect_rot.c).
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "tests/support/json.h"
#include "tests/support/payload.h"
#include "tests/support/program.h"
#include "tests/support/session.h"

#define OPTIONS "--segment 1M --chunk 64K"

enum { PATH_BYTES = SCRATCH_PATH_BYTES + 64, RANGES_MAX = 60000, BIG = 200000, SAMPLES = 3 };

TestSuite(inspect, .timeout = 600);

static struct program_result inspect(const char *words, const char *dir)
{
    char text[256];
    const char *arguments[16] = {program_inspect()};
    size_t count = 1;
    char *rest = NULL;
    (void)snprintf(text, sizeof text, "%s", words);
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        arguments[count++] = strcmp(word, "DIR") == 0 ? dir : word;
    }
    return program_run(NULL, arguments, NULL, 0);
}

static void same_text(const char *text, const char *expected)
{
    check_say(strcmp(text, expected) == 0, "it is\n%s\nnot\n%s", text, expected);
}

static void expect_status(const struct program_result *result, int status, const char *what)
{
    check_say(result->status == status, "%s: exit status %d, not %d\n%s%s", what, result->status,
              status, result->out, result->err);
}

/* Runs a program of the system. */
static void run(const char *program, const char *first, const char *second, const char *third)
{
    const char *arguments[] = {program, first, second, third, NULL};
    struct program_result result = program_run(NULL, arguments, NULL, 0);
    check_say(result.status == 0, "%s: %s", program, result.err);
    program_free(&result);
}

static void copy_to(const char *from, const char *to)
{
    run("/bin/rm", "-rf", to, NULL);
    run("/bin/cp", "-a", from, to);
}

/* Topics of all kinds: small, large, in batches, of several chunks, trimmed, consumed, deleted. */
static void fill(void)
{
    static char big[BIG];
    struct tusk_entry entry;
    struct iovec batch[50];
    append_numbered(topic_of(tusk, "many"), 1, 0, 6000, 100);
    struct tusk_topic *trimmed = topic_of(tusk, "trimmed");
    append_numbered(trimmed, 2, 0, 2000, 200);
    check_ok(tusk_topic_trim(trimmed, 777));
    struct tusk_topic *batches = topic_of(tusk, "batches");
    for (size_t i = 0; i < 50; i++) {
        batch[i] = (struct iovec){.iov_base = big, .iov_len = i * 37};
    }
    for (int i = 0; i < 5; i++) {
        check_ok(tusk_batch_append(batches, batch, 50, NULL));
    }
    payload_fill(big, 70000, 3, 0);
    check_ok(tusk_append(topic_of(tusk, "big"), big, 70000, NULL));
    check_ok(tusk_append(topic_of(tusk, "empty entry"), "", 0, NULL));
    append_text(topic_of(tusk, "gone"), "deleted");
    check_ok(tusk_topic_delete(tusk, "gone"));
    for (int i = 0; i < 3; i++) {
        append_text(topic_of(tusk, "\xc3\xa4 \"quoted\" \x01\xff"), "odd name");
        check_is(tusk_read_next(topic_of(tusk, "many"), true, &entry), 1);
    }
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
}

static void begin(void)
{
    broker = tuskd_start(OPTIONS);
    tusk = attach(broker);
    fill();
}

/* A store that was filled in two lives and stopped. */
static void stopped_store(void)
{
    begin();
    tusk_disconnect(tusk);
    tuskd_stop(broker);
    tuskd_restart(broker, OPTIONS);
    tusk = attach(broker);
    append_numbered(topic_of(tusk, "many"), 1, 6000, 100, 100);
    tusk_disconnect(tusk);
    tuskd_stop(broker);
}

/* The sizes of all regular files below a directory. */
static uint64_t files_bytes(const char *path)
{
    char command[PATH_BYTES + 80];
    (void)snprintf(command, sizeof command,
                   "find '%s' -type f -printf '%%s\\n' | awk '{ s += $1 } END { print s + 0 }'",
                   path);
    const char *arguments[] = {"/bin/sh", "-c", command, NULL};
    struct program_result result = program_run(NULL, arguments, NULL, 0);
    const uint64_t bytes = strtoull(result.out, NULL, 10);
    program_free(&result);
    return bytes;
}

/* A sum over names, contents and times of change: the same only if nothing was touched. */
static char *state_of(const char *path)
{
    char command[2 * PATH_BYTES + 200];
    (void)snprintf(command, sizeof command,
                   "cd '%s' && find . -printf '%%p %%s %%m %%T@ %%C@\\n' | sort && "
                   "find . -type f | sort | xargs -d '\\n' md5sum",
                   path);
    const char *arguments[] = {"/bin/sh", "-c", command, NULL};
    struct program_result result = program_run(NULL, arguments, NULL, 0);
    check_is(result.status, 0);
    free(result.err);
    return result.out;
}

/* The last line, which sums up. */
static const char *summary_of(const struct program_result *result)
{
    const char *line = strstr(result->out, "{\"type\":\"store\"");
    check_say(line != NULL, "no summary in:\n%s", result->out);
    return line;
}

static void expect_json_lines(const struct program_result *result)
{
    for (const char *line = result->out; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *end = strchr(line, '\n');
        check(end != NULL);
        check_say(json_valid(line, (size_t)(end - line)), "not JSON: %.200s", line);
    }
}

/* The classes add up to what the files have. */
static void expect_sums(const char *summary, const char *dir)
{
    uint64_t sum = 0;
    for (const char *at = strstr(summary, "\"bytes_"); at != NULL;
         at = strstr(at + 1, "\"bytes_")) {
        sum += strtoull(strchr(at, ':') + 1, NULL, 10);
    }
    check_is(sum, json_member_number(summary, "file_bytes"));
    check_is(sum, files_bytes(dir));
}

static void expect_clean(const char *dir)
{
    char text[32];
    char *before = state_of(dir);
    struct program_result result = inspect("verify DIR --json", dir);
    expect_status(&result, EX_OK, "verify");
    expect_json_lines(&result);
    const char *summary = summary_of(&result);
    expect_sums(summary, dir);
    same_text(json_member_text(summary, "verdict", text, sizeof text), "clean");
    check(strncmp(json_member(summary, "start_accepts"), "true", 4) == 0);
    check_is(json_member_number(summary, "bytes_damaged"), 0);
    program_free(&result);
    char *after = state_of(dir);
    same_text(after, before);
    free(before);
    free(after);
}

Test(inspect, a_store_that_was_stopped_is_clean_and_every_byte_is_accounted_for)
{
    stopped_store();
    expect_clean(broker->data);
    struct program_result result = inspect("verify DIR --json", broker->data);
    const char *summary = summary_of(&result);
    check_is(json_member_number(summary, "topics"), 6);
    check_is(json_member_number(summary, "entries"), 6100 + 1223 + 250 + 1 + 1 + 3);
    check_is(json_member_number(summary, "entries_lost"), 0);
    check(json_member_number(summary, "bytes_trimmed") > 0);
    check(json_member_number(summary, "bytes_pad") > 0);
    program_free(&result);
}

Test(inspect, a_store_whose_broker_was_killed_is_clean)
{
    begin();
    append_numbered(topic_of(tusk, "many"), 1, 6000, 3000, 100);
    tuskd_kill(broker);
    tusk_disconnect(tusk);
    expect_clean(broker->data);
    tuskd_restart(broker, OPTIONS);
    tuskd_kill(broker);
    expect_clean(broker->data);
}

Test(inspect, a_store_that_was_never_used_is_clean)
{
    broker = tuskd_start(OPTIONS);
    tuskd_stop(broker);
    expect_clean(broker->data);
}

Test(inspect, quiet_says_nothing_of_a_clean_store_and_text_is_for_people)
{
    stopped_store();
    struct program_result result = inspect("verify --quiet DIR", broker->data);
    expect_status(&result, EX_OK, "verify --quiet");
    check_is(result.out_bytes, 0);
    program_free(&result);
    result = inspect("verify DIR --progress", broker->data);
    check_contains(result.out, "verdict: clean\n");
    check_contains(result.out, "start: a broker would accept this store\n");
    check_contains(result.err, "100 %");
    program_free(&result);
}

/* Dumps. */

Test(inspect, dump_prints_topics_entries_and_records)
{
    char name[64];
    stopped_store();
    struct program_result result = inspect("dump DIR --json", broker->data);
    expect_status(&result, EX_OK, "dump");
    expect_json_lines(&result);
    const char *many = strstr(result.out, "{\"type\":\"topic\",\"name\":\"many\"");
    check(many != NULL);
    check_is(json_member_number(many, "next_seq"), 6100);
    check_is(json_member_number(many, "cursor_seq"), 3);
    const char *trimmed = strstr(result.out, "{\"type\":\"topic\",\"name\":\"trimmed\"");
    check_is(json_member_number(trimmed, "first_seq"), 777);
    check(strstr(result.out, "\"gone\"") == NULL);
    check(strstr(result.out, "\"name_base64\":\"w6QgInF1b3RlZCIgAf8=\"") != NULL);
    program_free(&result);

    result = inspect("dump DIR batches --json --from 1 --count 3 --payload hex", broker->data);
    expect_status(&result, EX_OK, "dump TOPIC");
    expect_json_lines(&result);
    check_is(json_member_number(result.out, "seq"), 1);
    check_is(json_member_number(result.out, "bytes"), 37);
    same_text(json_member_text(result.out, "flags", name, sizeof name), "first,last,batch");
    program_free(&result);

    result = inspect("dump DIR --records --json", broker->data);
    expect_status(&result, EX_OK, "dump --records");
    expect_json_lines(&result);
    check_contains(result.out, "\"record\":\"topic-delete\"");
    check_contains(result.out, "\"record\":\"trim\"");
    program_free(&result);
    result = inspect("dump DIR nothing", broker->data);
    expect_status(&result, EX_NOINPUT, "dump of no topic");
    check_contains(result.err, "has no topic \"nothing\"");
    program_free(&result);
}

/* The payload of each entry of "many" in a dump is the one that was appended. */
static void expect_payloads(const struct program_result *dump, uint64_t entries)
{
    uint64_t seen = 0;
    for (const char *line = dump->out; strncmp(line, "{\"type\":\"frame\"", 15) == 0;
         line = strchr(line, '\n') + 1) {
        unsigned char payload[100];
        struct payload_id id;
        const char *hex = json_member(line, "payload_hex");
        for (size_t i = 0; i < sizeof payload; i++) {
            const char digits[] = {hex[1 + 2 * i], hex[2 + 2 * i], '\0'};
            payload[i] = (unsigned char)strtoul(digits, NULL, 16);
        }
        check(payload_verify(payload, sizeof payload, &id));
        check_is(id.n, json_member_number(line, "seq"));
        seen++;
    }
    check_is(seen, entries);
}

Test(inspect, dump_prints_what_was_appended)
{
    stopped_store();
    struct program_result result = inspect("dump DIR many --json --payload hex", broker->data);
    expect_payloads(&result, 6100);
    program_free(&result);
}

static void append_to(const char *key, const char *topic, const char *text)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.namespace_key = key;
    struct tusk *connection = attach_with(broker, options);
    append_text(topic_of(connection, topic), text);
    tusk_disconnect(connection);
}

Test(inspect, a_data_directory_is_all_of_its_namespaces)
{
    broker = tuskd_start(OPTIONS);
    append_to("default", "t", "a");
    append_to("other \xc3\xa4", "only", "b");
    append_to("other ?", "t", "c");
    tuskd_stop(broker);
    struct program_result result = inspect("verify DIR --json", broker->data);
    expect_status(&result, EX_OK, "three namespaces");
    expect_json_lines(&result);
    check_contains(result.out, "\"namespace\":\"default\"");
    check_contains(result.out, "\"namespace\":\"other \xc3\xa4\"");
    check_contains(result.out, "\"namespace\":\"other ?\"");
    program_free(&result);
    result = inspect("dump DIR only --json", broker->data);
    expect_status(&result, EX_OK, "a topic of one of three namespaces");
    check_contains(result.out, "\"type\":\"frame\"");
    check(result.err[0] == '\0');
    program_free(&result);
    result = inspect("dump DIR nothing", broker->data);
    expect_status(&result, EX_NOINPUT, "a topic of none of them");
    check_contains(result.err, "has no topic \"nothing\"");
    program_free(&result);
    char command[PATH_BYTES + 64];
    (void)snprintf(command, sizeof command, "for s in '%s'/other*/STORE; do : >\"$s\"; done",
                   broker->data);
    run("/bin/sh", "-c", command, NULL);
    result = inspect("verify DIR --json --quiet", broker->data);
    expect_status(&result, EX_DATAERR, "two that are damaged");
    check_contains(result.out, "/other");
    check(strstr(result.out, "/default/") == NULL);
    program_free(&result);
}

/* Refusals. */

Test(inspect, what_cannot_be_looked_at_has_a_status_of_its_own)
{
    static const struct {
        const char *words;
        int status;
        const char *says;
    } rows[] = {
        {"", EX_USAGE, "expected verify or dump"},
        {"look DIR", EX_USAGE, "look: no such verb"},
        {"verify", EX_USAGE, "expected DIR"},
        {"verify DIR DIR", EX_USAGE, "one operand too many"},
        {"verify DIR --payload hex", EX_USAGE, "--payload: verify does not take it"},
        {"verify DIR --nonsense", EX_USAGE, "--nonsense: no such option"},
        {"dump DIR --from", EX_USAGE, "--from: expected a value"},
        {"dump DIR --from x", EX_USAGE, "--from: 'x' is not a number from 0"},
        {"dump DIR --payload x", EX_USAGE, "--payload: 'x' is none of text, hex and none"},
        {"verify DIR", EX_NOINPUT, "there is no store in"},
        {"dump DIR", EX_NOINPUT, "there is no store in"},
        {"verify DIR/nowhere", EX_NOINPUT, "cannot be opened"},
        {"verify /dev/null", EX_NOINPUT, "cannot be opened"},
    };
    char dir[SCRATCH_PATH_BYTES];
    scratch_on_disk(dir);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct program_result result = inspect(rows[i].words, dir);
        expect_status(&result, rows[i].status, rows[i].words);
        check_contains(result.err, rows[i].says);
        program_free(&result);
    }
    struct program_result result = inspect("--help", dir);
    expect_status(&result, EX_OK, "--help");
    check_contains(result.out, "Exit status:");
    program_free(&result);
}

Test(inspect, a_store_in_use_is_refused_and_its_broker_not_disturbed)
{
    begin();
    struct program_result result = inspect("verify DIR", broker->data);
    expect_status(&result, EX_TEMPFAIL, "a store in use");
    check_contains(result.err, "a broker is using");
    program_free(&result);
    append_text(topic_of(tusk, "many"), "x");
    session_end();
}

/* Damage: bytes. */

struct range {
    char file[PATH_BYTES];
    uint64_t offset;
    uint64_t bytes;
    char class[24];
};

static struct range *ranges;
static size_t ranges_count;

static void map_read(const char *dir)
{
    struct program_result result = inspect("verify DIR --map --json", dir);
    expect_status(&result, EX_OK, "verify --map");
    ranges = calloc(RANGES_MAX, sizeof *ranges);
    for (const char *line = strstr(result.out, "{\"type\":\"range\""); line != NULL;
         line = strstr(line + 1, "{\"type\":\"range\"")) {
        check(ranges_count < RANGES_MAX);
        struct range *range = &ranges[ranges_count++];
        (void)json_member_text(line, "file", range->file, sizeof range->file);
        (void)json_member_text(line, "class", range->class, sizeof range->class);
        range->offset = json_member_number(line, "offset");
        range->bytes = json_member_number(line, "bytes");
        const struct range *before = range - 1;
        const bool goes_on = ranges_count > 1 && strcmp(before->file, range->file) == 0;
        check_is(range->offset, goes_on ? before->offset + before->bytes : 0);
    }
    program_free(&result);
}

static void flip(const char *path, uint64_t offset)
{
    unsigned char byte;
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    check_say(fd >= 0, "%s: %m", path);
    check(pread(fd, &byte, 1, (off_t)offset) == 1);
    byte ^= 0x10;
    check(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    (void)close(fd);
}

static bool is_dead(const char *class)
{
    static const char *const live[] = {"superblock",    "namespace",     "segment-headers",
                                       "chunk-headers", "frame-headers", "payload"};
    for (size_t i = 0; i < sizeof live / sizeof *live; i++) {
        if (strcmp(class, live[i]) == 0) {
            return false;
        }
    }
    return true;
}

/* Does a finding name the place? */
static bool named(const struct program_result *result, const char *path, uint64_t offset)
{
    for (const char *line = strstr(result->out, "{\"type\":\"finding\""); line != NULL;
         line = strstr(line + 1, "{\"type\":\"finding\"")) {
        char file[PATH_BYTES];
        if (json_member(line, "file") == NULL) {
            continue;
        }
        const uint64_t begin_offset = json_member_number(line, "offset");
        const uint64_t bytes = json_member_number(line, "bytes");
        if (strcmp(json_member_text(line, "file", file, sizeof file), path) == 0 &&
            offset >= begin_offset && (bytes == 0 || offset < begin_offset + bytes)) {
            return true;
        }
    }
    return false;
}

/* A broker says the same of the copy as the inspector did. */
static void expect_same_verdict(const char *copy, const struct program_result *result)
{
    const char *summary = summary_of(result);
    const bool accepts = strncmp(json_member(summary, "start_accepts"), "true", 4) == 0;
    struct tuskd other = *broker;
    (void)snprintf(other.data, sizeof other.data, "%s", copy);
    const bool ready = tuskd_try(&other, OPTIONS);
    check_say(ready == accepts, "a broker %s what tusk-inspect said it would %s\n%s\n%s",
              ready ? "accepts" : "refuses", accepts ? "accept" : "refuse", result->out,
              tuskd_log(&other));
    if (ready) {
        tuskd_kill(&other);
    }
}

static void damage_one(const struct range *range, const char *copy)
{
    char path[PATH_BYTES];
    const uint64_t offset = range->offset + range->bytes / 2;
    const char *name = range->file + strlen(broker->data);
    (void)snprintf(path, sizeof path, "%s%s", copy, name);
    copy_to(broker->data, copy);
    flip(path, offset);
    struct program_result result = inspect("verify DIR --json", copy);
    expect_json_lines(&result);
    expect_sums(summary_of(&result), copy);
    if (is_dead(range->class)) {
        expect_status(&result, EX_OK, range->class);
    } else {
        expect_status(&result, EX_DATAERR, range->class);
        check_say(named(&result, path, offset), "%s of %s offset %llu is not named:\n%s",
                  range->class, path, (unsigned long long)offset, result.out);
    }
    expect_same_verdict(copy, &result);
    program_free(&result);
}

Test(inspect, a_byte_of_any_kind_that_changes_is_named_or_dead_and_a_start_says_the_same)
{
    char copy[PATH_BYTES];
    stopped_store();
    map_read(broker->data);
    (void)snprintf(copy, sizeof copy, "%s/copy", broker->dir);
    const char *done[32][1];
    size_t kinds = 0;
    for (size_t i = 0; i < ranges_count; i++) {
        bool seen = false;
        for (size_t k = 0; k < kinds; k++) {
            seen |= strcmp(done[k][0], ranges[i].class) == 0;
        }
        if (seen) {
            continue;
        }
        done[kinds++][0] = ranges[i].class;
        /* the first, one in the middle */
        size_t same = 0;
        for (size_t j = i; j < ranges_count; j++) {
            same += strcmp(ranges[j].class, ranges[i].class) == 0;
        }
        const size_t wanted[SAMPLES] = {0, same / 3, same / 2};
        size_t at = 0;
        for (size_t j = i; j < ranges_count; j++) {
            if (strcmp(ranges[j].class, ranges[i].class) != 0) {
                continue;
            }
            for (size_t w = 0; w < SAMPLES; w++) {
                if (wanted[w] == at && (w == 0 || wanted[w] != wanted[w - 1])) {
                    damage_one(&ranges[j], copy);
                }
            }
            at++;
        }
    }
    check(kinds >= 9);
    free(ranges);
}

/* Damage: files. */

struct mutation {
    const char *what;
    const char *script; /* run in the store's directory */
    int status;
    const char *kind; /* of the finding; NULL: none */
};

static const struct mutation mutations[] = {
    {"a missing first segment", "rm segments/0*0.seg", EX_DATAERR, "missing-chunk"},
    {"missing last segments", "rm segments/0*[1-9].seg", EX_DATAERR, "missing-chunk"},
    {"no segments at all", "rm -r segments", EX_DATAERR, "missing-file"},
    {"an empty segments", "rm segments/*", EX_DATAERR, "missing-chunk"},
    {"a cut segment", "truncate -s 500000 segments/0*0.seg", EX_DATAERR, "file-size"},
    {"a segment cut in a block", "truncate -s 70001 segments/0*0.seg", EX_DATAERR, "file-size"},
    {"an empty segment", "truncate -s 0 segments/0*0.seg", EX_DATAERR, "file-size"},
    {"a longer segment", "truncate -s +5000 segments/0*0.seg", EX_DATAERR, "file-size"},
    {"swapped segments",
     "mv segments/0*0.seg x; mv segments/0*1.seg segments/0000000000000000.seg; mv x "
     "segments/0000000000000001.seg",
     EX_DATAERR, "misplaced-segment"},
    {"a copied segment", "cp segments/0*0.seg segments/0000000000000001.seg", EX_DATAERR,
     "misplaced-segment"},
    {"a renamed segment", "mv segments/0*0.seg segments/0000000000000009.seg", EX_DATAERR,
     "misplaced-segment"},
    {"a foreign segment", "cp ../../foreign/default/segments/0*0.seg segments/0000000000000000.seg",
     EX_DATAERR, "foreign-segment"},
    {"a foreign STORE", "cp ../../foreign/default/STORE STORE", EX_DATAERR, "foreign-segment"},
    {"a symbolic link", "mv segments/0*0.seg x; ln -s ../x segments/0000000000000000.seg",
     EX_DATAERR, "file-kind"},
    {"a FIFO", "rm segments/0*0.seg; mkfifo segments/0000000000000000.seg", EX_DATAERR,
     "file-kind"},
    {"a directory", "rm segments/0*0.seg; mkdir segments/0000000000000000.seg", EX_DATAERR,
     "file-kind"},
    {"STORE as a FIFO", "rm STORE; mkfifo STORE", EX_DATAERR, "file-kind"},
    {"STORE as a link", "mv STORE x; ln -s x STORE", EX_DATAERR, "file-kind"},
    {"no STORE", "rm STORE", EX_DATAERR, "missing-file"},
    {"a short STORE", "truncate -s 4096 STORE", EX_DATAERR, "file-size"},
    {"a long STORE", "truncate -s 9000 STORE", EX_DATAERR, "file-size"},
    {"an empty STORE", "truncate -s 0 STORE", EX_DATAERR, "file-size"},
    {"STORE of zeros", "truncate -s 0 STORE; truncate -s 8192 STORE", EX_DATAERR, "superblock"},
    {"one copy of zeros", "dd if=/dev/zero of=STORE bs=4096 count=1 conv=notrunc 2>&1", EX_DATAERR,
     "superblock"},
    {"segments as a file", "rm -r segments; touch segments", EX_DATAERR, "file-kind"},
    {"LOCK as a directory", "rm LOCK; mkdir LOCK", EX_DATAERR, "file-kind"},
    {"no LOCK", "rm LOCK", EX_OK, NULL},
    {"another's NAMESPACE", "sed -i s/default/defauld/ NAMESPACE", EX_DATAERR, "namespace"},
    {"an empty NAMESPACE", "truncate -s 0 NAMESPACE", EX_DATAERR, "namespace"},
    {"NAMESPACE as a FIFO", "rm NAMESPACE; mkfifo NAMESPACE", EX_DATAERR, "file-kind"},
    {"no NAMESPACE", "rm NAMESPACE", EX_OK, NULL},
    {"strangers", "touch a segments/b; mkdir segments/c d; ln -s x e; mkfifo f", EX_OK,
     "unknown-file"},
    {"unfinished files", "touch STORE.new NAMESPACE.new segments/0000000000000002.seg.new", EX_OK,
     "unfinished-file"},
    {"a strange number", "cp segments/0*0.seg segments/ffffffffffffffff.seg", EX_OK, NULL},
    {"zeros for a segment's first half",
     "dd if=/dev/zero of=segments/0000000000000000.seg bs=4096 count=128 conv=notrunc 2>&1",
     EX_DATAERR, "segment-header"},
    {"noise in a segment",
     "dd if=/dev/urandom of=segments/0000000000000000.seg bs=4096 seek=16 count=64 conv=notrunc "
     "2>&1",
     EX_DATAERR, "checksum"},
};

static void mutation_try(const struct mutation *row, const char *copy)
{
    char command[PATH_BYTES + 512];
    copy_to(broker->data, copy);
    (void)snprintf(command, sizeof command, "set -e; cd '%s/default'; %s", copy, row->script);
    run("/bin/sh", "-c", command, NULL);
    char *before = state_of(copy);
    struct program_result result = inspect("verify DIR --json", copy);
    char *after = state_of(copy);
    expect_json_lines(&result);
    if (strcmp(row->what, "a strange number") == 0) {
        check_say(result.status == EX_OK || result.status == EX_DATAERR, "%d", result.status);
    } else {
        expect_status(&result, row->status, row->what);
    }
    if (row->kind != NULL) {
        char member[64];
        (void)snprintf(member, sizeof member, "\"kind\":\"%s\"", row->kind);
        check_say(strstr(result.out, member) != NULL, "%s: no finding of kind %s in\n%s", row->what,
                  row->kind, result.out);
    }
    same_text(after, before);
    expect_sums(summary_of(&result), copy);
    struct program_result dump = inspect("dump DIR many --json --payload none", copy);
    expect_json_lines(&dump);
    program_free(&dump);
    expect_same_verdict(copy, &result);
    program_free(&result);
    free(before);
    free(after);
}

Test(inspect, files_that_are_missing_mangled_or_not_files_are_named_and_a_start_says_the_same)
{
    char copy[PATH_BYTES];
    char foreign[PATH_BYTES];
    stopped_store();
    (void)snprintf(copy, sizeof copy, "%s/copy", broker->dir);
    (void)snprintf(foreign, sizeof foreign, "%s/foreign", broker->dir);
    struct tuskd *other = tuskd_start(OPTIONS);
    tuskd_stop(other);
    copy_to(other->data, foreign);
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        mutation_try(&mutations[i], copy);
    }
}
