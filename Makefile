# The front door: drives CMake. The work is done by the scripts in tests/tools.
tools := tests/tools
benches := bench-writes bench-reads bench-throughput bench-scaling bench-batch-scaling bench-latency \
	bench-fsync bench-idle bench-syscalls bench-recovery bench-peers bench-pingpong bench-floor \
	bench-profile bench-all

.DEFAULT_GOAL := help
.PHONY: help demo test $(benches) bench-report install format lint clean

help:
	@echo 'make demo           see it work: producers and consumers over a broker of their own'
	@echo 'make test           every suite and check; ends with one line of counts'
	@echo 'make bench-writes   appends per second        make bench-reads    reads per second'
	@echo 'make bench-latency  append to acknowledged    make bench-fsync    durable appends'
	@echo 'make bench-scaling  rates by processes        make bench-batch-scaling  with batches'
	@echo 'make bench-throughput  rates by size, batch, producers, consumers, topics'
	@echo 'make bench-idle     1,000 idle sessions       make bench-all      every benchmark'
	@echo 'make bench-syscalls system calls of clients   make bench-recovery start time and memory'
	@echo 'make bench-floor    beside a bare relay loop'
	@echo 'make bench-peers    beside pipes, queues, files, LMDB, RocksDB, Redis, NATS: PEERS="pipe redis"'
	@echo 'make bench-profile  where the time of an entry goes, with perf and callgrind'
	@echo 'make bench-pingpong two processes that sleep while they wait for each other'
	@echo 'make show-NAME      draws bench-NAME: build/results/bench-NAME.svg and .png'
	@echo 'make bench-report   one page with all newest results: build/results/report.html'
	@echo '  variables (bench/README.md): FSYNC PROCS THREADS TOPICS SIZE BATCH DURATION BACKEND CONSUMERS IDLE'
	@echo 'make soak-NAME      a promise at full size; without a NAME that is known: lists them'
	@echo 'make install        PREFIX=/usr/local DESTDIR='
	@echo 'make format, lint   clang-format in place; cppcheck and clang-tidy'
	@echo 'make clean          remove build/'

demo:
	@$(tools)/demo.sh

test:
	@$(tools)/run-tests.sh

$(benches): bench-%:
	@$(tools)/bench.sh $*

bench-report:
	@$(tools)/show.sh --report

show-%:
	@$(tools)/show.sh $*

soak-%:
	@$(tools)/soak.sh $*

install:
	@$(tools)/install-deps.sh build
	@$(tools)/build.sh --without-tests release
	@cmake --install build/release $(if $(PREFIX),--prefix '$(PREFIX)')

format:
	@$(tools)/format.sh

lint:
	@$(tools)/install-deps.sh test
	@$(tools)/lint.sh

clean:
	rm -rf build
