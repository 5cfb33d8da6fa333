# What nix/ uses of nixpkgs' lib and of NixOS, small enough to be evaluated
# without nixpkgs. What the real module system would refuse is an error here
# too: unknown options, wrong types, options without a value.
let
  inherit (builtins)
    all
    attrNames
    attrValues
    concatLists
    concatStringsSep
    elem
    filter
    head
    isAttrs
    isBool
    isFloat
    isInt
    isList
    isPath
    isString
    listToAttrs
    map
    mapAttrs
    ;

  type = name: check: {
    _type = "option-type";
    inherit name check;
  };

  isDerivation = value: isAttrs value && value.type or "" == "derivation";

  types = rec {
    anything = type "anything" (_: true);
    str = type "string" isString;
    bool = type "boolean" isBool;
    int = type "signed integer" isInt;
    path = type "absolute path" (
      value: isPath value || (isString value && builtins.match "/.*" value != null)
    );
    package = type "package" isDerivation;
    ints.positive = type "positive integer, meaning >0" (value: isInt value && value > 0);
    enum = values: type "one of ${builtins.toJSON values}" (value: elem value values);
    listOf = of: type "list of ${of.name}" (value: isList value && all of.check value);
    attrsOf =
      of:
      type "attribute set of ${of.name}" (
        value: isAttrs value && !isDerivation value && all of.check (attrValues value)
      );
    oneOf =
      choices:
      type (concatStringsSep " or " (map (it: it.name) choices)) (
        value: builtins.any (it: it.check value) choices
      );
    toml = type "TOML value" (
      value:
      isBool value
      || isInt value
      || isFloat value
      || isString value
      || isPath value
      || (isList value && all toml.check value)
      || (isAttrs value && all toml.check (attrValues value))
    );
  };

  lib = {
    inherit types elem;
    inherit (builtins) replaceStrings;

    mkOption = option: { _type = "option"; } // option;
    mkEnableOption =
      what:
      lib.mkOption {
        type = types.bool;
        default = false;
        example = true;
        description = "Whether to enable ${what}.";
      };
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };

    optional = condition: value: if condition then [ value ] else [ ];
    optionalString = condition: text: if condition then text else "";
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    genAttrs =
      names: f:
      listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    concatMapStringsSep =
      separator: f: list:
      concatStringsSep separator (map f list);
    versionOlder = a: b: builtins.compareVersions b a == 1;
    versionAtLeast = a: b: !lib.versionOlder a b;
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    licenses.mit.spdxId = "MIT";
    fileset = {
      # Each must exist, as in nixpkgs.
      unions = paths: map (path: if builtins.pathExists path then path else throw (toString path)) paths;
      toSource = { root, fileset }: { inherit root fileset; };
    };
  };

  derivation = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
  };

  pkgs = {
    inherit lib;
    coreutils = derivation "coreutils";
    callPackage = _: _: derivation "ebpf-ai-monitor-0.1.0";
    formats.toml = _: {
      type = types.toml;
      generate = name: value: derivation name // { inherit value; };
    };
  };

  # Takes conditions away, and with them what does not hold.
  resolve =
    value:
    if value._type or "" == "if" then
      (if value.condition then resolve value.content else null)
    else if isAttrs value && !isDerivation value then
      listToAttrs (
        filter (it: it.value != null) (
          map (name: {
            inherit name;
            value = resolve value.${name};
          }) (attrNames value)
        )
      )
    else
      value;

  # The options of NixOS that a module here may set, as nixos/modules has them.
  inNixos =
    let
      atom = types.oneOf [
        types.bool
        types.int
        types.str
        types.path
        types.package
      ];
    in
    {
      assertions = types.listOf types.anything;
      warnings = types.listOf types.str;
      environment.systemPackages = types.listOf types.package;
      environment.etc."*".source = types.oneOf [
        types.path
        types.package
      ];
      systemd.services."*" = {
        description = types.str;
        wantedBy = types.listOf types.str;
        reloadTriggers = types.listOf types.anything;
        startLimitIntervalSec = types.int;
        startLimitBurst = types.int;
        serviceConfig = types.attrsOf (
          types.oneOf [
            atom
            (types.listOf atom)
          ]
        );
      };
    };

  # Errors of `values` by a tree of types; at `*` any name will do.
  errorsOf =
    place: tree: values:
    if tree._type or "" == "option-type" then
      lib.optional (!tree.check values) "A definition for option `${place}' is not of type `${tree.name}'"
    else
      concatLists (
        lib.mapAttrsToList (
          name: value:
          let
            at = if place == "" then name else "${place}.${name}";
            below = tree.${name} or tree."*" or null;
          in
          if below == null then [ "The option `${at}' does not exist" ] else errorsOf at below value
        ) values
      );

  # `given`: what a person's configuration says below services.ebpf-ai-monitor.
  # `around`: what else there is in it.
  evaluate =
    {
      module,
      given,
      around,
    }:
    let
      made = module {
        inherit lib pkgs;
        config = around // {
          services.ebpf-ai-monitor = values;
          environment = set.environment or { };
        };
      };
      options = made.options.services.ebpf-ai-monitor;
      values = mapAttrs (
        name: option:
        given.${name} or option.default
          or (throw "The option `services.ebpf-ai-monitor.${name}' was accessed but has no value defined")
      ) options;
      errors =
        errorsOf "services.ebpf-ai-monitor" (mapAttrs (_: it: it.type) options) given
        ++ lib.optional (
          given.enable or false == true && !(given ? user)
        ) "The option `services.ebpf-ai-monitor.user' was accessed but has no value defined";
      resolved = resolve made.config;
      set = if resolved == null then { } else resolved;
    in
    {
      inherit options values;
      set = builtins.deepSeq set set;
      refused =
        errors
        ++ (
          if errors != [ ] then
            [ ]
          else
            errorsOf "" inNixos set ++ map (it: it.message) (filter (it: !it.assertion) (set.assertions or [ ]))
        );
      warnings = set.warnings or [ ];
    };

  # As NixOS writes a unit: a line for each element of a list.
  serviceText =
    service:
    let
      word = value: if isBool value then (if value then "true" else "false") else toString value;
      lines = name: value: map (it: "${name}=${word it}\n") (if isList value then value else [ value ]);
    in
    concatStringsSep "" (
      [ "[Unit]\n" ]
      ++ lines "Description" service.description
      ++ lines "StartLimitIntervalSec" service.startLimitIntervalSec
      ++ lines "StartLimitBurst" service.startLimitBurst
      ++ [ "\n[Service]\n" ]
      ++ concatLists (lib.mapAttrsToList lines service.serviceConfig)
    );
in
{
  inherit
    lib
    pkgs
    derivation
    evaluate
    serviceText
    ;
  firstOf = list: if list == [ ] then "" else head list;
}
