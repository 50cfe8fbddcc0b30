/* Options' table: see options_table.h for the contract. */
#include "broker/options_table.h"

#include <stdio.h>
#include <string.h>

#include "broker/options.h"
#include "shm/quantity.h"

#define MEMBER(member) .offset = offsetof(struct options, member)
#define CONFIG_MEMBER(member) .offset = offsetof(struct options, config.member)
#define CONFIG_PATH_MEMBER(member)                                                                 \
    CONFIG_MEMBER(member), .bytes = sizeof((struct options *)NULL)->config.member
#define CONFIG_WORD_MEMBER(member) .word_offset = offsetof(struct options, config.member)

static const struct option_word fsync_words[] = {
    {"each", FSYNC_EACH}, {"none", FSYNC_NONE}, {NULL, 0}};
static const struct option_word idle_words[] = {
    {"spin", IDLE_SPIN}, {"adaptive", IDLE_ADAPTIVE}, {"block", IDLE_BLOCK}, {NULL, 0}};
static const struct option_word backend_words[] = {{"auto", IO_BACKEND_AUTO},
                                                   {"uring", IO_BACKEND_URING},
                                                   {"pwrite", IO_BACKEND_PWRITE},
                                                   {"mmap", IO_BACKEND_MMAP},
                                                   {NULL, 0}};
static const struct option_word direct_words[] = {
    {"auto", IO_DIRECT_AUTO}, {"on", IO_DIRECT_ON}, {"off", IO_DIRECT_OFF}, {NULL, 0}};
static const struct option_word consistency_words[] = {{"strict", READ_STRICTLY_AT_ONCE},
                                                       {NULL, 0}};

const struct option_spec option_table[] = {
    {.name = "data",
     .variable = "TUSK_DATA_DIR",
     .argument = "DIR",
     .help = "directory of the stores, one for each namespace; made when it is not there",
     .default_help = "$XDG_STATE_HOME/tusk, as root /var/lib/tusk",
     .kind = OPTION_PATH,
     CONFIG_PATH_MEMBER(data_dir)},
    {.name = "socket",
     .variable = "TUSK_SOCKET",
     .argument = "PATH",
     .help = "socket that clients connect to",
     .default_help = "$XDG_RUNTIME_DIR/tusk/tusk.sock, as root /run/tusk/tusk.sock",
     .kind = OPTION_PATH,
     CONFIG_PATH_MEMBER(socket_path)},
    {.name = "socket-mode",
     .variable = "TUSK_SOCKET_MODE",
     .argument = "MODE",
     .help = "permissions of the socket, in octal: who may write to it may connect",
     .default_text = "0660",
     .kind = OPTION_MODE,
     CONFIG_MEMBER(socket_mode)},
    {.name = "socket-group",
     .variable = "TUSK_SOCKET_GROUP",
     .argument = "GROUP",
     .help = "group of the socket, a name or a number",
     .default_help = "the broker's own",
     .kind = OPTION_GROUP,
     CONFIG_MEMBER(socket_group)},
    {.name = "run-dir",
     .variable = "TUSK_RUN_DIR",
     .argument = "DIR",
     .help = "directory on a tmpfs for the memory shared with clients",
     .default_help = "beside the socket where that is a tmpfs, else in /dev/shm",
     .kind = OPTION_PATH,
     CONFIG_PATH_MEMBER(run_dir)},
    {.name = "fsync",
     .variable = "TUSK_FSYNC",
     .argument = "each|N ms|none",
     .help = "when entries become durable by themselves: before they are seen, every N "
             "milliseconds, or at a clean stop only",
     .default_text = "200ms",
     .minimum = NS_PER_MS,
     .maximum = CONFIG_FSYNC_INTERVAL_MS_MAX * NS_PER_MS,
     .zero_as_minimum = true,
     .words = fsync_words,
     .number_word = FSYNC_INTERVAL,
     .kind = OPTION_DURATION,
     CONFIG_MEMBER(fsync_interval_ns),
     CONFIG_WORD_MEMBER(fsync)},
    {.name = "backend",
     .variable = "TUSK_BACKEND",
     .argument = "auto|uring|pwrite|mmap",
     .help = "how files are written: by io_uring, by threads that call pwrite, or by mapping them; "
             "auto takes io_uring where the system allows it, else pwrite",
     .default_text = "auto",
     .words = backend_words,
     .kind = OPTION_WORD,
     CONFIG_WORD_MEMBER(backend)},
    {.name = "direct",
     .variable = "TUSK_DIRECT",
     .argument = "auto|on|off",
     .help = "whether files bypass the page cache (O_DIRECT): where the file system can, always or "
             "never",
     .default_text = "auto",
     .words = direct_words,
     .kind = OPTION_WORD,
     CONFIG_WORD_MEMBER(direct)},
    {.name = "arena",
     .variable = "TUSK_ARENA",
     .argument = "SIZE",
     .help = "memory for the chunks of the log, of each namespace that is open",
     .default_text = "128MiB",
     .default_help = "128MiB, less where the tmpfs is small",
     .minimum = CONFIG_ARENA_BYTES_MIN,
     .maximum = CONFIG_ARENA_BYTES_MAX,
     .kind = OPTION_SIZE,
     CONFIG_MEMBER(arena_bytes)},
    {.name = "chunk",
     .variable = "TUSK_CHUNK",
     .argument = "SIZE",
     .help = "piece of a topic's log, a power of two; fixed when a store is made",
     .default_text = "256KiB",
     .minimum = CHUNK_BYTES_MIN,
     .maximum = CHUNK_BYTES_MAX,
     .power_of_two = true,
     .kind = OPTION_SIZE,
     CONFIG_MEMBER(chunk_bytes)},
    {.name = "segment",
     .variable = "TUSK_SEGMENT",
     .argument = "SIZE",
     .help = "file that holds chunks: a multiple of the chunk, at least 16 of them",
     .default_text = "64MiB",
     .minimum = CONFIG_SEGMENT_BYTES_MIN,
     .maximum = CONFIG_SEGMENT_BYTES_MAX,
     .kind = OPTION_SIZE,
     CONFIG_MEMBER(segment_bytes)},
    {.name = "engines",
     .variable = "TUSK_ENGINES",
     .argument = "N",
     .help = "threads that do the work; each serves some of the namespaces",
     .default_text = "1",
     .minimum = 1,
     .maximum = CONFIG_ENGINES_MAX,
     .kind = OPTION_INTEGER,
     CONFIG_MEMBER(engines)},
    {.name = "idle",
     .variable = "TUSK_IDLE",
     .argument = "spin|adaptive|block",
     .help = "what an engine without work does: keep looking, look for a while and then sleep, or "
             "sleep at once",
     .default_text = "adaptive",
     .words = idle_words,
     .kind = OPTION_WORD,
     CONFIG_WORD_MEMBER(idle)},
    {.name = "consistency",
     .variable = "TUSK_CONSISTENCY",
     .argument = "strict|N",
     .help = "of reads that move a cursor: durable before the call returns, or every N entries",
     .default_text = "strict",
     .minimum = 1,
     .maximum = CONFIG_PERSIST_EVERY_MAX,
     .zero_as_minimum = true,
     .words = consistency_words,
     .number_word = READ_AT_LEAST_ONCE,
     .kind = OPTION_INTEGER,
     CONFIG_MEMBER(persist_every),
     CONFIG_WORD_MEMBER(consistency)},
    {.name = "retention",
     .variable = "TUSK_RETENTION",
     .argument = "POLICY",
     .help = "what topics give up: consumed (what every group has passed), bytes=SIZE (what is "
             "beyond it), age=TIME (what is older), several of these joined by commas, or none",
     .default_text = "consumed",
     .kind = OPTION_RETENTION,
     CONFIG_MEMBER(retention)},
    {.name = "stream-timeout",
     .variable = "TUSK_STREAM_TIMEOUT",
     .argument = "TIME",
     .help = "an append too large for a lane is given up when its client sends nothing for so long",
     .default_text = "10s",
     .minimum = NS_PER_MS,
     .maximum = CONFIG_STREAM_TIMEOUT_MS_MAX * NS_PER_MS,
     .kind = OPTION_DURATION,
     CONFIG_MEMBER(stream_timeout_ns)},
    {.name = "pin-timeout",
     .variable = "TUSK_PIN_TIMEOUT",
     .argument = "TIME",
     .help = "how long a reader may hold entries in place while the arena is short of room",
     .default_text = "10s",
     .minimum = CONFIG_PIN_TIMEOUT_MS_MIN * NS_PER_MS,
     .maximum = CONFIG_PIN_TIMEOUT_MS_MAX * NS_PER_MS,
     .kind = OPTION_DURATION,
     CONFIG_MEMBER(pin_timeout_ns)},
    {.name = "topics",
     .variable = "TUSK_TOPICS",
     .argument = "N",
     .help = "topics that a namespace may have",
     .default_text = "16384",
     .minimum = 1,
     .maximum = CONFIG_TOPICS_MAX,
     .kind = OPTION_INTEGER,
     CONFIG_MEMBER(topics_max)},
    {.name = "lanes",
     .variable = "TUSK_LANES",
     .argument = "N",
     .help = "client threads that a namespace may have at a time",
     .default_text = "8192",
     .minimum = 1,
     .maximum = CONFIG_LANES_MAX,
     .kind = OPTION_INTEGER,
     CONFIG_MEMBER(lanes_max)},
    {.name = "config",
     .variable = "TUSK_CONFIG",
     .argument = "FILE",
     .help = "file with one \"name = value\" per line; # begins a comment",
     .default_help = "none",
     .kind = OPTION_PATH,
     .not_in_file = true,
     MEMBER(config_path),
     .bytes = CONFIG_PATH_BYTES},
    {.name = "quiet",
     .variable = "TUSK_QUIET",
     .help = "log warnings and errors only",
     .default_text = "no",
     .kind = OPTION_BOOL,
     CONFIG_MEMBER(quiet)},
    {.name = "ready-fd",
     .argument = "N",
     .help = "file descriptor to write a newline to, and close, when clients can connect",
     .default_help = "none",
     .minimum = 1,
     .maximum = INT32_MAX,
     .kind = OPTION_INTEGER,
     .not_in_file = true,
     MEMBER(ready_fd)},
    {.name = "version",
     .help = "print the version and exit",
     .kind = OPTION_FLAG,
     .not_in_file = true},
    {.name = "help", .help = "print this text and exit", .kind = OPTION_FLAG, .not_in_file = true},
};
const size_t option_count = sizeof option_table / sizeof option_table[0];
_Static_assert(sizeof option_table / sizeof option_table[0] <= OPTIONS_MAX,
               "origins hold them all");

const struct option_spec *option_find(const char *name)
{
    for (size_t at = 0; at < option_count; at++) {
        if (strcmp(option_table[at].name, name) == 0) {
            return &option_table[at];
        }
    }
    return NULL;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters to insert, delete, replace or swap with a neighbour on the way from a to b. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LETTERS_MAX = 24 };
    size_t cost[LETTERS_MAX + 1][LETTERS_MAX + 1];
    const size_t a_letters = strlen(a);
    const size_t b_letters = strlen(b);
    if (a_letters > LETTERS_MAX || b_letters > LETTERS_MAX) {
        return SIZE_MAX;
    }
    for (size_t i = 0; i <= a_letters; i++) {
        for (size_t j = 0; j <= b_letters; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            const size_t replace = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            cost[i][j] = least(replace, least(cost[i - 1][j], cost[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                cost[i][j] = least(cost[i][j], cost[i - 2][j - 2] + 1);
            }
        }
    }
    return cost[a_letters][b_letters];
}

void option_suggest(char *text, size_t bytes, const char *name, const char *prefix)
{
    const size_t letters = strlen(name);
    const size_t distance_max = letters < 4 ? 1 : letters / 3 + 1;
    size_t nearest = distance_max;
    size_t used = 0;
    for (size_t at = 0; at < option_count; at++) {
        nearest = least(nearest, edit_distance(name, option_table[at].name));
    }
    text[0] = '\0';
    for (size_t at = 0; at < option_count && used < bytes; at++) {
        const char *const option = option_table[at].name;
        const bool begins = letters > 0 && strncmp(name, option, letters) == 0;
        if (begins || edit_distance(name, option) == nearest) {
            const char *const before = used == 0 ? "; did you mean " : " or ";
            used += (size_t)snprintf(text + used, bytes - used, "%s%s%s", before, prefix, option);
        }
    }
    if (used > 0 && used < bytes) {
        snprintf(text + used, bytes - used, "?");
    }
}
