# Targets for people and CI. Everything is made inside target/; `make deps` alone touches the
# system, and only to install Debian packages that are missing.

CARGO ?= cargo
IMAGES := $(CURDIR)/target/test-images
HSMSIGN := $(CURDIR)/target/release/hsmsign

# What the tests need to know. They find their inputs here and skip by name what is not there;
# with CI=true a missing tool or image is a failure.
export HSMSIGN_TEST_IMAGES := $(IMAGES)
# Else the caller's own settings would decide what is tested.
unexport HSMSIGN_MODE HSMSIGN_CONFIG HSMSIGN_HOST_CONFIG HSMSIGN_DEV_DIR HSMSIGN_AGENT

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install missing Debian packages (sudo when not root); checks for Rust
	@.ci/install-deps.sh

.PHONY: build
build: ## Build target/release/hsmsign
	$(CARGO) build --release --locked

.PHONY: images
images: ## Make the unsigned test images in target/test-images
	@test-images/make.sh $(IMAGES)

.PHONY: demo
demo: ## Sign all four artifacts in dev mode; good ones accepted, tampered ones refused
	@.ci/install-deps.sh build demo
	@$(MAKE) --no-print-directory build images
	@test-images/demo.sh $(HSMSIGN) $(IMAGES) $(CURDIR)/target/demo

.PHONY: test
test: ## Run all tests, from nothing
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory build images
	$(CARGO) test --locked --workspace
	@$(MAKE) --no-print-directory test-layers

# Python tools of the layer tests, in a place of their own; what they judge is bound to these versions.
PYTHON_TOOLS := $(CURDIR)/target/tools/python
$(PYTHON_TOOLS)/.installed: Makefile
	python3 -m venv $(PYTHON_TOOLS)
	$(PYTHON_TOOLS)/bin/pip install -q --disable-pip-version-check \
		kconfiglib==14.1.0 bitbake-setup==2.19.0 oelint-adv==9.11.2 oelint-data==1.5.26 oelint-parser==8.13.2
	@touch $@

.PHONY: test-layers
test-layers: $(PYTHON_TOOLS)/.installed ## Test the Yocto layer and the Buildroot tree without a checkout of either
	PATH=$(PYTHON_TOOLS)/bin:$$PATH meta-hsmsign/tests/run.sh
	PATH=$(PYTHON_TOOLS)/bin:$$PATH buildroot-package/tests/run.sh

.PHONY: bench
bench: ## Compare speed and memory with the tools a user would use instead
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory build images
	$(CARGO) bench --locked --workspace

.PHONY: lint
lint: ## Check formatting, clippy, cargo-deny and shell scripts, as CI does
	@bash .ci/run fmt clippy deny shell

.PHONY: clean
clean: ## Remove everything that was made
	$(CARGO) clean
