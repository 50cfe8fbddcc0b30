/* Corpus: see corpus.h. */
#include "clientlib/demo/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int line_add(struct corpus *corpus, const char *text, size_t bytes)
{
    if (corpus->line_count == corpus->line_capacity) {
        const size_t capacity = corpus->line_capacity ? corpus->line_capacity * 2 : 4096;
        struct corpus_line *lines = realloc(corpus->lines, capacity * sizeof *lines);
        if (!lines) {
            return -ENOMEM;
        }
        corpus->lines = lines;
        corpus->line_capacity = capacity;
    }
    corpus->lines[corpus->line_count++] = (struct corpus_line){.text = text, .bytes = bytes};
    return 0;
}

/* Cuts at newlines, and where a line is longer than CORPUS_LINE_BYTES. */
static int lines_add(struct corpus *corpus, const char *text, size_t bytes)
{
    const char *const end = text + bytes;
    while (text < end) {
        const size_t rest = (size_t)(end - text);
        const size_t limit = rest < CORPUS_LINE_BYTES ? rest : CORPUS_LINE_BYTES;
        const char *newline = memchr(text, '\n', limit);
        const size_t line_bytes = newline ? (size_t)(newline - text) : limit;
        const int error = line_add(corpus, text, line_bytes);
        if (error) {
            return error;
        }
        text += line_bytes + (newline ? 1 : 0);
    }
    return 0;
}

/* Maps the file for good: the lines point into it. */
static int file_add(struct corpus *corpus, int fd, size_t bytes)
{
    const char *text = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (text == MAP_FAILED) {
        return -errno;
    }
    const int error = lines_add(corpus, text, bytes);
    if (!error) {
        corpus->file_count++;
        corpus->bytes += bytes;
    }
    return error;
}

static int directory_add(struct corpus *corpus, const char *path)
{
    DIR *directory = opendir(path);
    int error = directory ? 0 : -errno;
    while (!error) {
        const struct dirent *entry = readdir(directory);
        if (!entry) {
            break;
        }
        char name[4096];
        struct stat status;
        const int length = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (length > 0 && (size_t)length < sizeof name && stat(name, &status) == 0 &&
            S_ISREG(status.st_mode)) {
            error = corpus_add(corpus, name);
        }
    }
    if (directory) {
        closedir(directory);
    }
    return error;
}

int corpus_add(struct corpus *corpus, const char *path)
{
    struct stat status;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int error = fstat(fd, &status) == 0 ? 0 : -errno;
    if (!error && S_ISDIR(status.st_mode)) {
        error = directory_add(corpus, path);
    } else if (!error && !S_ISREG(status.st_mode)) {
        error = -EINVAL;
    } else if (!error && status.st_size > 0) {
        error = file_add(corpus, fd, (size_t)status.st_size);
    }
    close(fd);
    return error;
}

void corpus_free(struct corpus *corpus)
{
    free(corpus->lines);
    *corpus = (struct corpus){0};
}

struct corpus_line corpus_pick(const struct corpus *corpus, unsigned producer, unsigned producers,
                               uint64_t n)
{
    const uint64_t start = (uint64_t)corpus->line_count * producer / producers;
    return corpus->lines[(start + n) % corpus->line_count];
}
