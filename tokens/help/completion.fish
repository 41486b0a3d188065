# Completion of gitlab-tokens in fish. In ~/.config/fish/config.fish:
#   gitlab-tokens --print-completion-script fish | source

function __gitlab_tokens
    set -l before (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    if set -l answer ($before[1] --complete -- $before "$current" 2> /dev/null)
        string join \n -- $answer
    else
        __fish_complete_path "$current"
    end
end

complete --command gitlab-tokens --no-files --arguments '(__gitlab_tokens)'
